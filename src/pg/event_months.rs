//! Which partition of the log holds which time.

use pgrx::pg_sys;

/// The partitions of `audit.event`. Times are timestamptz.
pub(super) struct Months {
    /// Where ranges begin and end, ascending.
    bounds: Vec<i64>,
    /// The partition of the range before `bounds[n]` at `n`, and of the last one at the end.
    ranges: Vec<Option<pg_sys::Oid>>,
    catch_all: Option<pg_sys::Oid>,
}

/// From this time on, and before that time.
pub type Period = (i64, i64);

impl Months {
    /// As they are now.
    ///
    /// # Safety
    /// `log` must be `audit.event`, open.
    pub(super) unsafe fn of(log: pg_sys::Relation) -> Self {
        let mut months = Self { bounds: Vec::new(), ranges: Vec::new(), catch_all: None };
        // SAFETY: the descriptor lives while the log is open; a range partition's bounds are one timestamptz each, and
        // `indexes` has one entry more than there are bounds.
        unsafe {
            let description = &*pg_sys::RelationGetPartitionDesc(log, true);
            if description.nparts == 0 {
                return months;
            }
            let oids = std::slice::from_raw_parts(description.oids, description.nparts as usize);
            let info = &*description.boundinfo;
            let oid = |index: i32| usize::try_from(index).ok().map(|index| oids[index]);
            for bound in 0..info.ndatums as usize {
                months.bounds.push(match **info.kind.add(bound) {
                    pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => i64::MIN,
                    pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => i64::MAX,
                    _ => (**info.datums.add(bound)).value() as i64,
                });
            }
            if info.ndatums > 0 {
                let indexes = std::slice::from_raw_parts(info.indexes, info.ndatums as usize + 1);
                months.ranges = indexes.iter().map(|index| oid(*index)).collect();
            }
            months.catch_all = oid(info.default_index);
        }
        months
    }

    /// The partition of `time`.
    pub(super) fn partition_of(&self, time: i64) -> Option<pg_sys::Oid> {
        let range = self.bounds.partition_point(|bound| *bound <= time);
        self.ranges.get(range).copied().flatten().or(self.catch_all)
    }

    /// All of them with their periods: the catch-all, which has none, and then the newest first.
    pub(super) fn newest_first(&self) -> Vec<(pg_sys::Oid, Option<Period>)> {
        let months = self.bounds.windows(2).zip(self.ranges.iter().skip(1));
        let months = months.filter_map(|(bounds, oid)| Some(((*oid)?, Some((bounds[0], bounds[1])))));
        self.catch_all.map(|oid| (oid, None)).into_iter().chain(months.rev()).collect()
    }
}
