//! Threads that wait for work awake: a network has many short steps, between which sleeping costs more than a
//! step.

use std::cell::UnsafeCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};

use super::shared::Shared;

/// Runs the tasks `0..count`, on several threads if there are any. Which thread runs a task is left open.
pub fn for_each(count: usize, task: impl Fn(usize) + Sync) {
    static TEAM: OnceLock<&'static Team> = OnceLock::new();
    if count <= 1 || count > MOST_TASKS || rayon::current_num_threads() == 1 {
        return (0..count).for_each(task);
    }
    TEAM.get_or_init(|| Team::start(rayon::current_num_threads())).run(count, &task);
}

/// Runs `task` on the chunks of `length` elements that a slice consists of, the last of which may be shorter; at least
/// `together` of them one after the other.
pub fn for_each_chunk<T: Send>(
    slice: &mut [T],
    length: usize,
    together: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let (length, together) = (length.max(1), together.max(1));
    let run = length.saturating_mul(together);
    let runs = slice.len().div_ceil(run);
    let all = slice.len();
    let shared = Shared::new(slice);
    for_each(runs, |at| {
        let start = at * run;
        // SAFETY: runs do not overlap, and each is taken by one task.
        let run = unsafe { shared.slice(start, run.min(all - start)) };
        run.chunks_mut(length)
            .enumerate()
            .for_each(|(chunk, elements)| task(at * together + chunk, elements));
    });
}

/// Tasks that a round can have: with as many more as there are threads they fit the bits of a ticket, as each thread
/// may take one that there is not.
const MOST_TASKS: usize = 1 << (TASK_BITS - 1);

/// How often a thread without work looks for some before it sleeps: for some tens of microseconds.
const LOOKS: usize = 20_000;

struct Team {
    /// Round, number of its tasks, and the next task, of 24, 20 and 20 bits: one word, so that who takes a task
    /// knows that the round has it.
    ticket: AtomicU64,
    /// What the round does. It is valid while some task of the round is not done.
    job: UnsafeCell<*const (dyn Fn(usize) + Sync)>,
    done: AtomicUsize,
    panicked: AtomicBool,
    /// Held for a round.
    busy: Mutex<()>,
    workers: OnceLock<Vec<Thread>>,
    asleep: AtomicUsize,
}

// SAFETY: `job` is written while no task is left, and read by who has taken a task; `ticket` orders the two.
unsafe impl Sync for Team {}
// SAFETY: the job is a shared function that may be called on any thread.
unsafe impl Send for Team {}

const TASK_BITS: u32 = 20;

/// The next task and the number of tasks.
fn tasks(ticket: u64) -> (usize, usize) {
    let mask = (1 << TASK_BITS) - 1;
    ((ticket & mask) as usize, (ticket >> TASK_BITS & mask) as usize)
}

impl Team {
    /// A team of `threads` with the caller. It lasts as long as the process.
    fn start(threads: usize) -> &'static Team {
        let team: &'static Team = Box::leak(Box::new(Team {
            ticket: AtomicU64::new(0),
            job: UnsafeCell::new(&|_| {}),
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            busy: Mutex::new(()),
            workers: OnceLock::new(),
            asleep: AtomicUsize::new(0),
        }));
        let start = |_| thread::Builder::new().name("kernels".to_owned()).spawn(|| team.work());
        // With fewer threads than wanted the same is computed.
        let workers = (1..threads).map(start).map_while(Result::ok);
        let _ = team.workers.set(workers.map(|worker| worker.thread().clone()).collect());
        team
    }

    fn run(&self, count: usize, job: &(dyn Fn(usize) + Sync)) {
        // The team serves one caller at a time; what a task itself divides is small.
        let Ok(_busy) = self.busy.try_lock() else { return (0..count).for_each(job) };
        // SAFETY: only the lifetime is changed, and this function does not end before every task is done. No task
        // of an earlier round is left, so nobody reads the cell.
        unsafe {
            *self.job.get() =
                std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job)
        };
        self.done.store(0, Ordering::Relaxed);
        let round = (self.ticket.load(Ordering::Relaxed) >> (2 * TASK_BITS)) + 1;
        self.ticket.store(round << (2 * TASK_BITS) | (count as u64) << TASK_BITS, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            self.workers.get().into_iter().flatten().for_each(Thread::unpark);
        }
        while self.take_task() {}
        while self.done.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
        }
        if self.panicked.swap(false, Ordering::Relaxed) {
            panic!("a task panicked");
        }
    }

    /// Does a task of the round, if one is left.
    fn take_task(&self) -> bool {
        // First a look, so that the counter does not run over while there is nothing to do.
        let (next, count) = tasks(self.ticket.load(Ordering::Relaxed));
        if next >= count {
            return false;
        }
        let (next, count) = tasks(self.ticket.fetch_add(1, Ordering::AcqRel));
        if next >= count {
            return false;
        }
        // SAFETY: this task is not done, so the job is that of its round, and it is valid.
        let job = unsafe { &**self.job.get() };
        if panic::catch_unwind(AssertUnwindSafe(|| job(next))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    fn work(&self) {
        let mut looks = 0;
        loop {
            if self.take_task() {
                looks = 0;
            } else if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                let (next, count) = tasks(self.ticket.load(Ordering::SeqCst));
                if next >= count {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                looks = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_from_several_callers() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a thread pool");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    pool.install(|| {
                        for count in (0..300).chain([5000, MOST_TASKS, MOST_TASKS + 1]) {
                            let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                            for_each(count, |task| {
                                runs[task].fetch_add(1, Ordering::Relaxed);
                            });
                            assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
                        }
                    });
                });
            }
        });
    }
}
