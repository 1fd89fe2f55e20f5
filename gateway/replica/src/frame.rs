//! One committed frame of the log → the fold, minding what is missing before it.

use crate::error::Error;
use crate::fold::Fold;

impl Fold {
    /// Folds a frame that begins with record `first`. Its marks are the owner's, as of its last
    /// record: readings that may leave and those that stay, over the life of the log; the boot
    /// and the record before that boot's first. Records already folded are passed over.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn frame<'a>(&mut self, first: u64, marks: [u64; 4], records: impl Iterator<Item = (u64, u8, &'a [u8])>) -> Result<(), Error> {
        let [readings, local, boot, base] = marks;
        let gap = self.lsn != 0 && first > self.lsn + 1;
        if gap && boot != 0 && self.current().is_some_and(|p| p.boot != boot) {
            self.begin_boot(boot, None, base);
        }
        for (lsn, kind, payload) in records {
            if lsn > self.lsn {
                self.apply(lsn, kind, payload)?;
            }
        }
        if gap {
            self.gap(readings, local);
        }
        Ok(())
    }
}
