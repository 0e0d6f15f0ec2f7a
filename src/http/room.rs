//! The places for connections: few for each peer, some for this machine alone, and always one for a
//! newcomer.
//!
//! A newcomer that finds its peer's places taken ends the connection of this peer that has done
//! least: first one that sent nothing, then one that sent a part, then one that is being answered;
//! of equals the oldest. So connections that only wait take no place from a probe, even from the
//! same address, and a peer's connections never end those of a peer that has fewer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Connections from this machine at the same time; no other machine can take these places.
pub const LOOPBACK_MAX: usize = 8;
/// Connections from elsewhere at the same time.
pub const ELSEWHERE_MAX: usize = 24;
/// Connections of one peer from elsewhere at the same time: an address, or an IPv6 network of 64
/// bits.
pub const PER_PEER_MAX: usize = 4;

/// The machine or network on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// This machine, by any of its loopback addresses.
    Loopback,
    V4(Ipv4Addr),
    /// The upper 64 bits: one machine can choose the others.
    V6([u16; 4]),
}

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Loopback,
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has sent nothing.
    Silent,
    /// It has sent a part of its request.
    Sending,
    /// Its request is here.
    Asked,
}

struct Place {
    number: u64,
    peer: Peer,
    stage: Stage,
    /// The connection ends when this is dropped.
    _stay: oneshot::Sender<()>,
}

/// The places, and the connections that have one.
#[derive(Clone, Default)]
pub struct Room(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    /// Oldest first.
    taken: Vec<Place>,
    /// How many connections there have been.
    number: u64,
}

/// A connection's place; free again once this is dropped.
pub struct Stay {
    room: Room,
    number: u64,
}

impl Room {
    /// Gives a newcomer a place, and a future that resolves when another connection needs the
    /// place.
    pub fn enter(&self, address: IpAddr) -> (Stay, oneshot::Receiver<()>) {
        let peer = Peer::of(address);
        let (stay, evicted) = oneshot::channel();
        let mut places = self.lock();
        places.make_room_for(peer);
        places.number += 1;
        let number = places.number;
        places.taken.push(Place {
            number,
            peer,
            stage: Stage::Silent,
            _stay: stay,
        });
        let room = self.clone();
        (Stay { room, number }, evicted)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stay {
    /// Records how far the connection has come.
    pub fn has_come_to(&self, stage: Stage) {
        let mut places = self.room.lock();
        if let Some(place) = places.taken.iter_mut().find(|p| p.number == self.number) {
            place.stage = stage;
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut places = self.room.lock();
        places.taken.retain(|place| place.number != self.number);
    }
}

impl Places {
    fn make_room_for(&mut self, peer: Peer) {
        let own = self.of(peer);
        let elsewhere = self.taken.len() - self.of(Peer::Loopback);
        if peer == Peer::Loopback {
            if own >= LOOPBACK_MAX {
                self.end_one_of(peer);
            }
        } else if own >= PER_PEER_MAX {
            self.end_one_of(peer);
        } else if elsewhere >= ELSEWHERE_MAX
            && let Some(most) = self.most_elsewhere()
        {
            self.end_one_of(most);
        }
    }

    fn of(&self, peer: Peer) -> usize {
        self.taken.iter().filter(|place| place.peer == peer).count()
    }

    /// The peer from elsewhere with the most places; of equals the peer of the connection that has
    /// done least.
    fn most_elsewhere(&self) -> Option<Peer> {
        let elsewhere = self.taken.iter().filter(|p| p.peer != Peer::Loopback);
        let least = |place: &&Place| (usize::MAX - self.of(place.peer), place.stage);
        elsewhere.min_by_key(least).map(|place| place.peer)
    }

    fn end_one_of(&mut self, peer: Peer) {
        let places = self.taken.iter().enumerate();
        let own = places.filter(|(_, place)| place.peer == peer);
        if let Some((at, _)) = own.min_by_key(|(_, place)| place.stage) {
            self.taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    type Stays = Vec<(Stay, oneshot::Receiver<()>)>;

    fn enter(room: &Room, times: usize, address: impl Into<IpAddr> + Copy) -> Stays {
        (0..times).map(|_| room.enter(address.into())).collect()
    }

    /// Which connections have lost their place.
    fn ended(stays: &mut Stays) -> Vec<usize> {
        let ended = |evicted: &mut oneshot::Receiver<()>| {
            evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        (0..stays.len())
            .filter(|at| ended(&mut stays[*at].1))
            .collect()
    }

    ///
    #[test]
    fn a_peer_that_is_full_makes_room_for_its_own_newcomer_only() {
        let room = Room::default();
        let mut other = enter(&room, PER_PEER_MAX, [192, 0, 2, 2]);
        let mut peer = enter(&room, 200, [192, 0, 2, 1]);
        assert_eq!(ended(&mut peer), (0..196).collect::<Vec<_>>());
        assert_eq!(ended(&mut other), [0; 0]);
        drop(peer);
        assert_eq!(room.lock().taken.len(), PER_PEER_MAX);
    }

    #[test]
    fn the_connection_that_has_done_least_goes_first_and_of_equals_the_oldest() {
        let room = Room::default();
        let mut peer = enter(&room, PER_PEER_MAX, [192, 0, 2, 1]);
        peer[0].0.has_come_to(Stage::Asked);
        peer[1].0.has_come_to(Stage::Sending);
        peer.extend(enter(&room, 1, [192, 0, 2, 1]));
        assert_eq!(ended(&mut peer), [2]);
        for at in [3, 4] {
            peer[at].0.has_come_to(Stage::Asked);
        }
        peer.extend(enter(&room, 1, [192, 0, 2, 1]));
        assert_eq!(ended(&mut peer), [1, 2]);
        peer[5].0.has_come_to(Stage::Asked);
        peer.extend(enter(&room, 1, [192, 0, 2, 1]));
        assert_eq!(ended(&mut peer), [0, 1, 2]);
    }

    #[test]
    fn a_connection_from_elsewhere_takes_no_place_of_this_machine() {
        let room = Room::default();
        let mut here = enter(&room, LOOPBACK_MAX, HERE);
        let mut elsewhere = Stays::new();
        for n in 0..=255 {
            elsewhere.extend(enter(&room, PER_PEER_MAX, [192, 0, 2, n]));
        }
        assert_eq!(ended(&mut here), [0; 0]);
        assert_eq!(room.lock().taken.len(), LOOPBACK_MAX + ELSEWHERE_MAX);
        let mut more = enter(&room, 1, [127, 9, 9, 9]);
        more.extend(enter(
            &room,
            1,
            "::ffff:127.0.0.1".parse::<IpAddr>().unwrap(),
        ));
        more.extend(enter(&room, 1, "::1".parse::<IpAddr>().unwrap()));
        assert_eq!(ended(&mut here), [0, 1, 2], "all of it is one machine");
        assert_eq!(ended(&mut more), [0; 0]);
    }

    #[test]
    fn when_all_places_are_taken_the_peer_with_the_most_makes_room() {
        let room = Room::default();
        let mut crowd = Stays::new();
        for n in 0..20 {
            crowd.extend(enter(&room, 1, [192, 0, 2, n]));
        }
        let mut greedy = enter(&room, PER_PEER_MAX, [192, 0, 2, 100]);
        let mut newcomers = Stays::new();
        for n in 0..3 {
            newcomers.extend(enter(&room, 1, [192, 0, 2, 101 + n]));
        }
        assert_eq!(ended(&mut greedy), [0, 1, 2]);
        assert_eq!(ended(&mut crowd), [0; 0]);
        assert_eq!(ended(&mut newcomers), [0; 0]);
    }

    #[test]
    fn one_network_of_64_bits_is_one_peer() {
        let room = Room::default();
        let address = |n| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let mut peer = Stays::new();
        for n in 0..6 {
            peer.extend(enter(&room, 1, address(n)));
        }
        assert_eq!(ended(&mut peer), [0, 1]);
    }
}
