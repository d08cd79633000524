//! Who listens, and how many may.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use flukedeploy_domain::access::Actor;
use time::OffsetDateTime;

/// Most connections at a time; each costs some tens of kilobytes.
const MAX_LISTENERS: usize = 2_000;
/// Most of one address: many people may sit behind one.
const MAX_OF_ADDRESS: usize = 1_024;
/// Most of one token or account.
const MAX_OF_ONE: usize = 256;

/// The connections of all log streams of this process.
pub(crate) struct Listeners {
    seats: Mutex<Seats>,
    started: Instant,
    pub(super) started_at: OffsetDateTime,
}

#[derive(Default)]
struct Seats {
    count: usize,
    of_address: HashMap<IpAddr, usize>,
    of_one: HashMap<String, usize>,
}

/// A place on the stream, given back when it is dropped.
pub(super) struct Seat {
    listeners: Arc<Listeners>,
    address: Option<IpAddr>,
    /// Who sits there, once that is known.
    one: Option<String>,
}

/// All places are taken: whose?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Everybody,
    OfAddress,
    OfOne,
}

impl Full {
    pub(super) const CODE: &'static str = "too_many_clients";

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Everybody => "the log stream has no place left",
            Self::OfAddress => "your address has as many connections as it may have",
            Self::OfOne => "this token or account has as many connections as it may have",
        }
    }
}

/// Whoever has an IPv6 network has all its addresses.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

fn take<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: K, most: usize) -> bool {
    let count = counts.entry(key).or_insert(0);
    let has_room = *count < most;
    *count += usize::from(has_room);
    has_room
}

fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Listeners {
    pub(crate) fn new(started_at: OffsetDateTime) -> Self {
        Self {
            seats: Mutex::default(),
            started: Instant::now(),
            started_at,
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.seats().count
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A place for somebody from an address.
    pub(super) fn sit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Full> {
        let address = address.map(counted);
        let mut seats = self.seats();
        if seats.count >= MAX_LISTENERS {
            return Err(Full::Everybody);
        }
        if let Some(address) = address
            && !take(&mut seats.of_address, address, MAX_OF_ADDRESS)
        {
            return Err(Full::OfAddress);
        }
        seats.count += 1;
        drop(seats);
        Ok(Seat {
            listeners: Arc::clone(self),
            address,
            one: None,
        })
    }
}

impl Seat {
    /// It is known now who sits there.
    pub(super) fn belongs_to(&mut self, actor: &Actor) -> Result<(), Full> {
        let one = format!("{:?} {}", actor.kind, actor.id);
        if self.one.as_ref() == Some(&one) {
            return Ok(());
        }
        if !take(&mut self.listeners.seats().of_one, one.clone(), MAX_OF_ONE) {
            return Err(Full::OfOne);
        }
        self.one = Some(one);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.listeners.seats();
        seats.count = seats.count.saturating_sub(1);
        if let Some(address) = &self.address {
            give_back(&mut seats.of_address, address);
        }
        if let Some(one) = &self.one {
            give_back(&mut seats.of_one, one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners() -> Arc<Listeners> {
        Arc::new(Listeners::new(OffsetDateTime::UNIX_EPOCH))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_limited_and_given_back() {
        let listeners = listeners();
        let seats: Vec<_> = (0..MAX_LISTENERS)
            .map(|_| listeners.sit(None).ok().unwrap())
            .collect();
        assert_eq!(listeners.sit(None).err(), Some(Full::Everybody));
        assert_eq!(listeners.count(), MAX_LISTENERS);
        drop(seats);
        assert_eq!(listeners.count(), 0);
        assert!(listeners.sit(None).is_ok());
    }

    #[test]
    fn one_address_and_one_token_leave_places_to_others() {
        let listeners = listeners();
        let mut of_network: Vec<_> = (0..MAX_OF_ADDRESS)
            .map(|last| {
                listeners
                    .sit(Some(ip(&format!("2001:db8::{last:x}"))))
                    .ok()
                    .unwrap()
            })
            .collect();
        assert_eq!(
            listeners.sit(Some(ip("2001:db8::ffff:1"))).err(),
            Some(Full::OfAddress)
        );
        assert!(listeners.sit(Some(ip("2001:db8:0:1::1"))).is_ok());
        assert!(listeners.sit(Some(ip("::ffff:192.0.2.1"))).is_ok());
        let mut actor = Actor::system();
        for seat in of_network.iter_mut().take(MAX_OF_ONE) {
            assert_eq!(seat.belongs_to(&actor), Ok(()));
            assert_eq!(seat.belongs_to(&actor), Ok(()), "counted once");
        }
        let last = &mut of_network[MAX_OF_ONE];
        assert_eq!(last.belongs_to(&actor), Err(Full::OfOne));
        actor.id = "other".to_owned();
        assert_eq!(last.belongs_to(&actor), Ok(()));
        drop(of_network);
        let seats = listeners.seats();
        assert!(seats.of_address.is_empty() && seats.of_one.is_empty());
    }
}
