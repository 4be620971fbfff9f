mod files;
mod graphs;
