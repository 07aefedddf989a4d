//! Event ids: UUID version 7 (RFC 9562, section 5.7) whose `rand_a` holds the microseconds.
//!
//! So `ORDER BY event_id` is `ORDER BY` time to the microsecond, across backends; within a backend ids increase
//! strictly, whatever the clock does: it is read as the later of now and the last event's time.

/// One generator per backend.
pub struct Generator {
    random: fastrand::Rng,
    last_micros: u64,
    tail: u64,
}

/// The largest value of `rand_b`, 62 bits.
const TAIL_MAX: u64 = (1 << 62) - 1;

impl Generator {
    /// A generator whose random bits follow from `seed`, which must come from a strong source and differ
    /// between backends.
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), last_micros: 0, tail: 0 }
    }

    /// The next id and the time it stands for, both in microseconds since 1970: the clock's `now`, or the last
    /// event's time where the clock went back.
    pub fn next(&mut self, now: u64) -> (u64, [u8; 16]) {
        if now > self.last_micros {
            self.last_micros = now;
            // The top bit stays free, so that ids of the same microsecond find room above.
            self.tail = self.random.u64(..) >> 3;
        } else {
            self.tail += self.random.u64(1..=u64::from(u32::MAX));
            if self.tail > TAIL_MAX {
                self.last_micros += 1;
                self.tail = self.random.u64(..) >> 3;
            }
        }
        (self.last_micros, encode(self.last_micros, self.tail))
    }
}

fn encode(micros: u64, tail: u64) -> [u8; 16] {
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_increase_whatever_the_clock_does(
            seed: u64,
            clock in prop::collection::vec(1_700_000_000_000_000u64..1_700_000_000_000_050, 1..200),
        ) {
            let mut generator = Generator::new(seed);
            let mut previous = (0, [0; 16]);
            for now in clock {
                let next = generator.next(now);
                prop_assert!(next.1 > previous.1);
                prop_assert!(next.0 >= now && next.0 >= previous.0);
                previous = next;
            }
        }

        #[test]
        fn the_id_says_its_time(seed: u64, now in 1u64..(1 << 57)) {
            let (micros, id) = Generator::new(seed).next(now);
            prop_assert_eq!(micros, now);
            let uuid = uuid::Uuid::from_bytes(id);
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            let (milliseconds, sub) = (u64::from_be_bytes(id[..8].try_into().unwrap()) >> 16,
                                       u64::from(u16::from_be_bytes([id[6] & 0x0f, id[7]])));
            prop_assert_eq!(milliseconds * 1000 + sub, now);
        }
    }

    #[test]
    fn a_full_tail_moves_to_the_next_microsecond() {
        let mut generator = Generator::new(1);
        let first = generator.next(5_000);
        generator.tail = TAIL_MAX;
        let second = generator.next(5_000);
        assert_eq!(second.0, 5_001);
        assert!(second.1 > first.1);
    }
}
