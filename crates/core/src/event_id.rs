//! Event ids: UUID version 7 (RFC 9562, section 5.7) whose `rand_a` holds the microseconds.
//!
//! So `ORDER BY event_id` is `ORDER BY` time to the microsecond, across backends; within a backend ids increase
//! strictly, whatever the clock does: it is read as the later of now and the last event's time.
//!
//! One exception: PostgreSQL tells of a statement's rows when it ends, and by then a function that it called may
//! have written, and been told of, more. Events are ordered as the changes were: those of an earlier command get
//! ids, and times, before those of the later one.

/// One generator per backend.
pub struct Generator {
    random: fastrand::Rng,
    /// The highest place given out.
    last: u128,
    transaction: u64,
    /// The last place before this transaction.
    floor: u128,
    /// This transaction's commands that left events, ascending.
    runs: Vec<Run>,
}

/// The places of one command's events: its microseconds, then the 62 bits of `rand_b`.
struct Run {
    command: u32,
    first: u128,
    last: u128,
}

/// Bits of `rand_b`.
const TAIL: u32 = 62;
/// So many commands of a transaction are told apart; beyond that, neighbours count as one.
const MOST_RUNS: usize = 4096;

impl Generator {
    /// A generator whose random bits follow from `seed`, which must come from a strong source and differ
    /// between backends.
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), last: 0, transaction: 0, floor: 0, runs: Vec::new() }
    }

    /// The id of the next event of `command` in `transaction`, and the time it stands for in microseconds since
    /// 1970: the clock's `now`, or the last event's time where the clock went back. An event of an earlier command
    /// than the last one's has its place between the two.
    pub fn next(&mut self, now: u64, transaction: u64, command: u32) -> (u64, [u8; 16]) {
        if transaction != self.transaction {
            self.transaction = transaction;
            self.floor = self.last;
            self.runs.clear();
        }
        let at = self.runs.partition_point(|run| run.command < command);
        let known = self.runs.get(at).is_some_and(|run| run.command == command);
        let place = match self.runs.get(at + usize::from(known)).map(|run| run.first) {
            None => self.newest(now, command, known),
            Some(end) => self.between(at, command, known, end),
        };
        ((place >> TAIL) as u64, encode(place))
    }

    /// A place after all others.
    fn newest(&mut self, now: u64, command: u32, known: bool) -> u128 {
        // A microsecond stays free before a command's first event, for those that are told of later.
        let earliest = (self.last >> TAIL) as u64 + if known { 1 } else { 2 };
        // The top bit of the random part stays free, so that ids of the same microsecond find room above.
        let fresh = |random: &mut fastrand::Rng, micros: u64| {
            u128::from(micros) << TAIL | u128::from(random.u64(..) >> 3)
        };
        let place = if now >= earliest || !known {
            fresh(&mut self.random, now.max(earliest))
        } else {
            self.last + u128::from(self.random.u64(1..=u64::from(u32::MAX)))
        };
        self.last = place;
        match self.runs.last_mut().filter(|_| known) {
            Some(run) => run.last = place,
            None => {
                self.thin_out();
                self.runs.push(Run { command, first: place, last: place });
            }
        }
        place
    }

    /// A place before `end`, where a later command's events begin.
    fn between(&mut self, at: usize, command: u32, known: bool, end: u128) -> u128 {
        if known {
            let run = &mut self.runs[at];
            run.last += u128::from(self.random.u64(1..=1 << 24)).min((end - run.last) / 2);
            return run.last;
        }
        let before = at.checked_sub(1).map_or(self.floor, |before| self.runs[before].last);
        // The event before may be hours old; this one is not.
        let begin = before.max(end.saturating_sub(1 << TAIL));
        let room = end - begin;
        // In the middle: commands earlier still may follow.
        let place = begin + room / 2 - u128::from(self.random.u64(..)) % (room / 8).max(1);
        self.runs.insert(at, Run { command, first: place, last: place });
        place
    }

    fn thin_out(&mut self) {
        if self.runs.len() < MOST_RUNS {
            return;
        }
        let mut thinned: Vec<Run> = Vec::with_capacity(MOST_RUNS);
        for (number, run) in self.runs.drain(..).enumerate() {
            match thinned.last_mut() {
                Some(before) if number % 2 == 0 => before.last = run.last,
                _ => thinned.push(run),
            }
        }
        self.runs = thinned;
    }
}

/// The least id of an event at `micros` since 1970 or later: what ids of a period are compared with.
pub fn first_at(micros: u64) -> [u8; 16] {
    /// What 48 bits of milliseconds and their microseconds can hold.
    const LAST: u64 = (1 << 48) * 1000 - 1;
    encode(u128::from(micros.min(LAST)) << TAIL)
}

fn encode(place: u128) -> [u8; 16] {
    let (micros, tail) = ((place >> TAIL) as u64, place as u64 & ((1 << TAIL) - 1));
    let high = ((micros / 1000) << 16) | 0x7000 | (micros % 1000);
    let low = (1 << 63) | tail;
    let mut id = [0; 16];
    id[..8].copy_from_slice(&high.to_be_bytes());
    id[8..].copy_from_slice(&low.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_period_lie_between_its_bounds() {
        let mut generator = Generator::new(1);
        for now in [0, 999, 1000, 1_700_000_000_123_456] {
            let (time, id) = generator.next(now, 1, 1);
            assert!(first_at(time) <= id && id < first_at(time + 1), "{now}");
        }
        assert_eq!(first_at(u64::MAX)[..6], [0xff; 6]);
    }
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_increase_whatever_the_clock_does(
            seed: u64,
            steps in prop::collection::vec((1_700_000_000_000_000u64..1_700_000_000_000_050, 0u64..2, 0u32..2), 1..200),
        ) {
            let mut generator = Generator::new(seed);
            let (mut previous, mut transaction, mut command) = ((0, [0; 16]), 1, 0);
            for (now, transactions, commands) in steps {
                transaction += transactions;
                command += commands;
                let next = generator.next(now, transaction, command);
                prop_assert!(next.1 > previous.1);
                prop_assert!(next.0 >= now && next.0 >= previous.0);
                previous = next;
            }
        }

        #[test]
        fn the_id_says_its_time(seed: u64, now in 2u64..(1 << 57)) {
            let (micros, id) = Generator::new(seed).next(now, 1, 0);
            prop_assert_eq!(micros, now);
            let uuid = uuid::Uuid::from_bytes(id);
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            let (milliseconds, sub) = (u64::from_be_bytes(id[..8].try_into().unwrap()) >> 16,
                                       u64::from(u16::from_be_bytes([id[6] & 0x0f, id[7]])));
            prop_assert_eq!(milliseconds * 1000 + sub, now);
        }

        #[test]
        fn events_told_of_late_come_where_their_command_was(
            seed: u64,
            commands in prop::collection::vec((0u32..12, 0u64..3), 1..300),
            restart in 0usize..300,
        ) {
            let mut generator = Generator::new(seed);
            let (mut now, mut events) = (1_700_000_000_000_000, Vec::new());
            for (number, (command, pause)) in commands.into_iter().enumerate() {
                now += pause;
                let transaction = if number < restart { 1 } else { 2 };
                let (time, id) = generator.next(now, transaction, command);
                // Late, but not of another day.
                prop_assert!(time + 12 >= 1_700_000_000_000_000);
                events.push((transaction, command, number, time, id));
            }
            // By transaction, command and arrival.
            events.sort();
            for pair in events.windows(2) {
                prop_assert!(pair[0].4 < pair[1].4, "{:?}", pair);
                prop_assert!(pair[0].3 <= pair[1].3);
            }
        }
    }

    #[test]
    fn a_statement_of_many_rows_that_each_call_a_function() {
        let mut generator = Generator::new(7);
        let nested: Vec<_> =
            (0..10_000u32).map(|n| generator.next(1_000_000 + u64::from(n) * 10, 1, 6 + n).1).collect();
        let outer: Vec<_> = (0..1_000_000u32).map(|_| generator.next(2_000_000, 1, 5).1).collect();
        assert!(nested.is_sorted_by(|a, b| a < b) && outer.is_sorted_by(|a, b| a < b));
        assert!(outer.last() < nested.first());
        assert!(generator.next(3_000_000, 1, 20_000).1 > nested[9_999]);
        assert!(generator.runs.len() <= MOST_RUNS);
    }
}
