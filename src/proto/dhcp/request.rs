//! REQUEST: in which of RFC 2131's four states the client is, and whether it may have the address that it names.
//!
//! ```text
//!               │ option 54 │ option 50 │ ciaddr │ sent to                      (RFC 2131 table 4)
//!  SELECTING    │ ours      │ yes       │ zero   │ broadcast
//!  INIT-REBOOT  │ no        │ yes       │ zero   │ broadcast
//!  RENEWING     │ no        │ no        │ yes    │ this server
//!  REBINDING    │ no        │ no        │ yes    │ broadcast
//! ```
//!
//! A NAK ends a ROM's whole attempt to boot (EDK2 gives up at once), so only who is provably wrong gets one.

use std::net::Ipv4Addr;

use crate::boot::lease::{Claim, Refusal};
use crate::boot::plan::Mode;
use crate::proto::reply::Exchange;
use crate::stats::DropReason;

/// The state that a client requests in
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes our offer
    Selecting,
    /// It took another server's offer
    SelectingOther(Ipv4Addr),
    /// It remembers an address from before
    InitReboot,
    /// It extends its lease with us
    Renewing,
    /// It extends its lease with anyone
    Rebinding,
}

/// What becomes of a REQUEST
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets the address
    Bind,
    /// It is told why not
    Nak(&'static str),
    /// It is left to another server, or to its next try
    Silence(DropReason),
}

/// The state of a REQUEST and the address that it is for; `None`: it names none
pub(super) fn state_of(exchange: &Exchange<'_>) -> Option<(State, Ipv4Addr)> {
    let requested = exchange.message.requested_ip();
    let ciaddr = exchange.ciaddr();
    if let Some(server) = exchange.message.server_id() {
        let is_ours = server == exchange.server_id() || server == exchange.answer.network.address;
        let state = if is_ours { State::Selecting } else { State::SelectingOther(server) };
        // A client that chose another server may name no address to us: it is noted all the same.
        let address = requested.or(ciaddr).or((!is_ours).then_some(Ipv4Addr::UNSPECIFIED))?;
        return Some((state, address));
    }
    let is_unicast = exchange.datagram.destination == exchange.answer.network.address;
    let renewing = |ciaddr| match (is_unicast, exchange.client.relay) {
        // A relay forwards what was broadcast to it: unicast from a relay is REBINDING.
        (true, None) => (State::Renewing, ciaddr),
        _ => (State::Rebinding, ciaddr),
    };
    ciaddr.map(renewing).or_else(|| requested.map(|requested| (State::InitReboot, requested)))
}

/// Whether a client in `state` gets the address that it has this claim on
pub(super) fn judge(
    state: State,
    claim: Result<Claim, Refusal>,
    mode: Mode,
    is_authoritative: bool,
) -> Verdict {
    // Whoever took our offer, or renews with us, is ours to refuse. For the rest, RFC 2131 §4.3.2: keep silent about
    // what another server may know. Beside one (take-over) we never know that there is none.
    let is_ours = matches!(state, State::Selecting | State::Renewing);
    let knows_all = is_authoritative && mode == Mode::Full;
    match claim {
        Ok(Claim::Free) if !is_ours && !knows_all => Verdict::Silence(DropReason::UnknownLease),
        Ok(_) => Verdict::Bind,
        Err(Refusal::Full) => Verdict::Silence(DropReason::LeasesFull),
        Err(refusal) if is_ours || knows_all => Verdict::Nak(words(refusal)),
        Err(refusal @ (Refusal::WrongSubnet | Refusal::HasAnother(_))) if mode == Mode::Full => {
            Verdict::Nak(words(refusal))
        }
        Err(_) => Verdict::Silence(DropReason::UnknownLease),
    }
}

/// Option 56 of a NAK, which some clients show
fn words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::WrongSubnet => "wrong network",
        Refusal::TakenByOther => "address in use",
        Refusal::Withheld => "address reserved",
        Refusal::HasAnother(_) => "another address is yours",
        Refusal::NotInPool => "address not available",
        Refusal::Declined => "address found in use",
        Refusal::Full => "no room for a lease",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[test]
    fn what_is_ours_is_bound_in_every_state() {
        for state in [State::Selecting, State::InitReboot, State::Renewing, State::Rebinding] {
            for claim in [Claim::Reserved, Claim::Held, Claim::Bound, Claim::Lapsed] {
                for mode in [Mode::Full, Mode::TakeOver] {
                    assert_eq!(judge(state, Ok(claim), mode, false), Verdict::Bind);
                }
            }
        }
    }

    #[test]
    fn an_unknown_lease_is_taken_up_only_by_who_knows_all() {
        let silence = Verdict::Silence(DropReason::UnknownLease);
        for state in [State::InitReboot, State::Rebinding] {
            assert_eq!(judge(state, Ok(Claim::Free), Mode::Full, true), Verdict::Bind);
            assert_eq!(judge(state, Ok(Claim::Free), Mode::Full, false), silence);
            assert_eq!(judge(state, Ok(Claim::Free), Mode::TakeOver, true), silence);
        }
        assert_eq!(judge(State::Renewing, Ok(Claim::Free), Mode::Full, false), Verdict::Bind);
    }

    #[test]
    fn only_who_is_provably_wrong_gets_a_nak() {
        let is_nak =
            |state, refusal, mode, knows| matches!(judge(state, Err(refusal), mode, knows), Verdict::Nak(_));
        for refusal in [Refusal::TakenByOther, Refusal::NotInPool, Refusal::Withheld, Refusal::Declined] {
            assert!(is_nak(State::Selecting, refusal, Mode::TakeOver, false), "{refusal:?}");
            assert!(is_nak(State::InitReboot, refusal, Mode::Full, true), "{refusal:?}");
            assert!(!is_nak(State::InitReboot, refusal, Mode::Full, false), "{refusal:?}");
            assert!(!is_nak(State::Rebinding, refusal, Mode::TakeOver, true), "{refusal:?}");
        }
        for refusal in [Refusal::WrongSubnet, Refusal::HasAnother(ELSEWHERE)] {
            assert!(is_nak(State::InitReboot, refusal, Mode::Full, false), "{refusal:?}");
            assert!(!is_nak(State::InitReboot, refusal, Mode::TakeOver, true), "{refusal:?}");
        }
    }

    #[test]
    fn a_full_table_refuses_nobody() {
        let verdict = judge(State::Selecting, Err(Refusal::Full), Mode::Full, true);
        assert_eq!(verdict, Verdict::Silence(DropReason::LeasesFull));
    }
}
