//! Rates: the events of each user, and the handshakes and refused keys from each address.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use chat_domain::UserId;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use crate::limits::{
    CONNECT_BURST, Limits, MESSAGE_BURST, RATE_CLEANUP_INTERVAL, REFUSED_KEY_BURST,
    REFUSED_KEY_RATE,
};

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryAfter(pub(crate) Duration);

/// The rate limits of this node.
pub(crate) struct Rates {
    events: Option<DefaultKeyedRateLimiter<UserId>>,
    handshakes: Option<DefaultKeyedRateLimiter<IpAddr>>,
    refused_keys: DefaultKeyedRateLimiter<IpAddr>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let quota = |rate: NonZeroU32, burst| {
            Quota::per_second(rate).allow_burst(rate.saturating_mul(burst))
        };
        let per_second = NonZeroU32::new;
        Self {
            events: per_second(limits.message_rate)
                .map(|rate| DefaultKeyedRateLimiter::keyed(quota(rate, MESSAGE_BURST))),
            handshakes: per_second(limits.connect_rate)
                .map(|rate| DefaultKeyedRateLimiter::keyed(quota(rate, CONNECT_BURST))),
            refused_keys: DefaultKeyedRateLimiter::keyed(
                Quota::per_second(REFUSED_KEY_RATE).allow_burst(REFUSED_KEY_BURST),
            ),
        }
    }

    /// Counts an event of this user.
    ///
    /// # Errors
    /// When the user's rate is exceeded.
    pub(crate) fn check_event(&self, user: &UserId) -> Result<(), RetryAfter> {
        check(self.events.as_ref(), user)
    }

    /// Counts a handshake from this address.
    ///
    /// # Errors
    /// When the address' rate is exceeded.
    pub(crate) fn check_handshake(&self, address: IpAddr) -> Result<(), RetryAfter> {
        check(self.handshakes.as_ref(), &network_of(address))
    }

    /// Counts a request of the server API from this address that presented no valid key.
    ///
    /// # Errors
    /// When the address' rate is exceeded.
    pub(crate) fn check_refused_key(&self, address: IpAddr) -> Result<(), RetryAfter> {
        check(Some(&self.refused_keys), &network_of(address))
    }

    /// Forgets users and addresses that have been quiet for so long that they have their
    /// whole burst again. Runs until it is dropped.
    pub(crate) async fn forget_idle(&self) {
        let mut ticks = tokio::time::interval(RATE_CLEANUP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(events) = &self.events {
                events.retain_recent();
                events.shrink_to_fit();
            }
            if let Some(handshakes) = &self.handshakes {
                handshakes.retain_recent();
                handshakes.shrink_to_fit();
            }
            self.refused_keys.retain_recent();
            self.refused_keys.shrink_to_fit();
        }
    }
}

fn check<K>(limiter: Option<&DefaultKeyedRateLimiter<K>>, key: &K) -> Result<(), RetryAfter>
where
    K: std::hash::Hash + Eq + Clone,
{
    let Some(limiter) = limiter else {
        return Ok(());
    };
    limiter.check_key(key).map_err(|refused| {
        let now = DefaultClock::default().now();
        RetryAfter(refused.wait_time_from(now))
    })
}

/// Returns what counts as one address. A single IPv6 client usually has a whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & (u128::MAX << 64);
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(message_rate: u32, connect_rate: u32) -> Rates {
        Rates::new(&Limits {
            message_rate,
            connect_rate,
            ..Limits::default()
        })
    }

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn a_user_has_a_burst_of_four_seconds_and_an_address_one_of_ten() {
        let rates = rates(1, 1);
        let events = (0..10).take_while(|_| rates.check_event(&user("1")).is_ok());
        assert_eq!(events.count(), 4);
        assert!(rates.check_event(&user("2")).is_ok());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let handshakes = (0..20).take_while(|_| rates.check_handshake(address).is_ok());
        assert_eq!(handshakes.count(), 10);
        let RetryAfter(wait) = rates.check_handshake(address).unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let rates = rates(0, 0);
        assert!((0..10_000).all(|_| rates.check_event(&user("1")).is_ok()));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert!((0..10_000).all(|_| rates.check_handshake(address).is_ok()));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        let rates = rates(0, 1);
        let handshakes = (0..20_u16)
            .map(|n| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]))
            .take_while(|&address| rates.check_handshake(address).is_ok());
        assert_eq!(handshakes.count(), 10);
        assert!(
            rates
                .check_handshake("2001:db8:0:2::1".parse().unwrap())
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn users_with_their_whole_burst_are_forgotten() {
        let rates = rates(1_000_000, 0);
        for n in 0..10_000 {
            rates.check_event(&user(&n.to_string())).unwrap();
        }
        let events = rates.events.as_ref().unwrap();
        assert!(events.len() > 1000);
        // The limiter reads the system's clock, in which these have their burst at once.
        tokio::select! {
            () = rates.forget_idle() => {}
            () = tokio::time::sleep(RATE_CLEANUP_INTERVAL * 2) => {}
        }
        assert!(events.is_empty(), "{}", events.len());
    }
}
