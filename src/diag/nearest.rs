//! What a misspelt name was meant to be.

/// The candidate nearest to `name` (the first of equals), if it is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.len() / 3 + 1;
    candidates
        .into_iter()
        // The difference in length is a lower bound, and spares hostile names their square.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit && name.len() <= 256)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["conv2d", "relu", "max_pool2d"];
        assert_eq!(nearest("conv3d", names), Some("conv2d"));
        assert_eq!(nearest("maxpool2d", names), Some("max_pool2d"));
        assert_eq!(nearest("softmax", names), None);
    }
}
