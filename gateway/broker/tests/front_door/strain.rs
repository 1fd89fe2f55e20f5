//! How far behind a busy machine is: what a test allows beside the bounds that it proves.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two looks at the clock; every tenth look is at the disk.
const LOOK: Duration = Duration::from_millis(10);

/// A thread that wants next to nothing, and how late it got it; it ends when this is dropped.
pub struct Strain {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
}

struct Seen {
    longest: Duration,
    /// When what goes on would be over on an idle machine.
    due: Instant,
}

impl Strain {
    /// Looks at the processors, and with a folder at its disk.
    pub fn begin(dir: Option<&Path>) -> Self {
        let file = dir.map(|dir| File::create(dir.join("strain")).unwrap());
        let seen = Arc::new(Mutex::new(Seen { longest: Duration::ZERO, due: Instant::now() }));
        let strain = Self { seen: seen.clone(), over: Arc::default() };
        let over = strain.over.clone();
        std::thread::spawn(move || {
            let step = |takes: Duration, work: &dyn Fn()| {
                seen.lock().unwrap().due = Instant::now() + takes;
                work();
                let mut seen = seen.lock().unwrap();
                seen.longest = seen.longest.max(seen.due.elapsed());
            };
            for look in 0u64.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                step(LOOK, &|| std::thread::sleep(LOOK));
                if let Some(file) = file.as_ref().filter(|_| look % 10 == 0) {
                    // A disk that takes nothing is another test's subject.
                    step(Duration::ZERO, &|| drop(file.write_all_at(&[look as u8; 512], 0).and_then(|()| file.sync_all())));
                }
            }
        });
        strain
    }

    /// What may be taken for a limit on this machine: three times its longest delay more.
    pub fn allows(&self, limit: Duration) -> Duration {
        let seen = self.seen.lock().unwrap();
        limit + 3 * seen.longest.max(seen.due.elapsed())
    }
}

impl Drop for Strain {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}
