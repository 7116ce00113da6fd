//! The gate of a route: a provider may refuse one model and run another, and bill a model at another
//! price than the catalogue's.

use jiff::Timestamp;

use crate::domain::{Cost, CostSource, Money, ProviderSignal};

use super::gate::alone_until;

/// Whether, from when and at which price a model may be submitted to a provider. Shared by every
/// process on the queue, and kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGate {
    /// No submission before this time.
    pub held_until: Timestamp,
    /// No submission before this time, because one that goes alone is under way.
    pub alone_until: Timestamp,
    /// Why it was refused; `None` if no submission was refused since the last accepted one.
    pub hold_reason: Option<String>,
    /// The price that was learned from a bill; `None` while bills agree with the catalogue.
    pub price: Option<LearnedPrice>,
}

/// A price that differs from the catalogue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedPrice {
    /// The catalogue's price of a prediction.
    pub priced: Money,
    /// What the provider billed for it.
    pub billed: Money,
    /// When the bill came. The estimates of earlier attempts are at an earlier price.
    pub learned_at: Timestamp,
    /// Whether the user has accepted it.
    pub is_accepted: bool,
}

impl Default for RouteGate {
    /// Returns the gate of a route that was never refused: open, at the catalogue's price.
    fn default() -> Self {
        Self {
            held_until: Timestamp::UNIX_EPOCH,
            alone_until: Timestamp::UNIX_EPOCH,
            hold_reason: None,
            price: None,
        }
    }
}

impl RouteGate {
    /// Returns the gate after a signal of a submission to the route.
    #[must_use]
    pub fn after(&self, signal: &ProviderSignal) -> Self {
        let mut next = self.clone();
        match signal {
            ProviderSignal::HoldRoute { until, reason } => {
                next.held_until = next.held_until.max(*until);
                next.hold_reason = Some(reason.clone());
                next.alone_until = Timestamp::UNIX_EPOCH;
            }
            ProviderSignal::Healthy if self.alone_until > Timestamp::UNIX_EPOCH => {
                next.hold_reason = None;
                next.alone_until = Timestamp::UNIX_EPOCH;
            }
            _ => {}
        }
        next
    }

    /// Returns the gate after a prediction was billed, whose price was estimated when it was
    /// `submitted_at`: the price is learned from a bill that differs from it by more than a fifth.
    #[must_use]
    pub fn after_bill(
        &self,
        estimate: Money,
        cost: Cost,
        submitted_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let is_known = cost.source != CostSource::Rule && cost.source != CostSource::Reused;
        let is_older = self
            .price
            .is_some_and(|price| submitted_at <= price.learned_at);
        let billed = cost.amount;
        let difference = if billed > estimate {
            billed - estimate
        } else {
            estimate - billed
        };
        // A prediction for nothing says nothing about the price of the next one.
        let says_nothing = billed <= Money::ZERO || estimate <= Money::ZERO;
        if !is_known || is_older || says_nothing || difference.saturating_mul(5) <= estimate {
            return self.clone();
        }
        let catalog_price = self
            .price
            .map_or(estimate, |price| price.unscaled(estimate));
        let accepted = self.price.filter(|price| price.is_accepted);
        Self {
            price: Some(LearnedPrice {
                priced: catalog_price,
                billed,
                learned_at: now,
                // What was accepted stays so until a bill is more than half above it.
                is_accepted: accepted.is_some() && !is_half_above(billed, estimate),
            }),
            ..self.clone()
        }
    }

    /// Returns the gate while a submission is under way: no other, if it goes alone.
    #[must_use]
    pub fn submitting(&self, now: Timestamp) -> Self {
        let mut next = self.clone();
        if self.goes_alone() {
            next.alone_until = alone_until(now);
        }
        next
    }

    /// Returns the gate after a submission has ended that revealed nothing, or was not sent.
    #[must_use]
    pub fn not_submitting(&self) -> Self {
        Self {
            alone_until: Timestamp::UNIX_EPOCH,
            ..self.clone()
        }
    }

    /// Returns whether the next submission goes alone.
    pub fn goes_alone(&self) -> bool {
        self.hold_reason.is_some()
    }

    /// Returns when the route may be submitted to again; in the past if it may now.
    pub fn submits_allowed_from(&self) -> Timestamp {
        self.held_until.max(self.alone_until)
    }

    /// Returns the price that stops submissions until the user accepts it; `None` if none does.
    pub fn unaccepted_price(&self) -> Option<LearnedPrice> {
        self.price
            .filter(|price| !price.is_accepted && is_half_above(price.billed, price.priced))
    }

    /// Returns what is reserved for a submission that the catalogue prices at `price`.
    pub fn reservation(&self, price: Money) -> Money {
        self.price.map_or(price, |learned| learned.scaled(price))
    }

    /// Returns the gate after the user has accepted the price.
    #[must_use]
    pub fn accepted(&self) -> Self {
        let price = self.price.map(|price| LearnedPrice {
            is_accepted: true,
            ..price
        });
        Self {
            price,
            ..self.clone()
        }
    }
}

impl LearnedPrice {
    /// Returns a price of the catalogue, corrected; rounded up.
    fn scaled(self, price: Money) -> Money {
        ratio(price, self.billed, self.priced)
    }

    /// Returns the catalogue's price of a corrected one; at least a micro-dollar.
    fn unscaled(self, price: Money) -> Money {
        ratio(price, self.priced, self.billed).max(Money::from_micros(1))
    }
}

/// Returns `amount * to / from`, rounded up and saturating.
fn ratio(amount: Money, to: Money, from: Money) -> Money {
    let from = i128::from(from.micros().max(1));
    let product = i128::from(amount.micros()) * i128::from(to.micros());
    Money::from_micros(i64::try_from((product + from - 1) / from).unwrap_or(i64::MAX))
}

fn is_half_above(billed: Money, price: Money) -> bool {
    (billed - price).saturating_mul(2) > price
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn billed(micros: i64) -> Cost {
        Cost {
            amount: Money::from_micros(micros),
            source: CostSource::Reported,
        }
    }

    proptest! {
        #[test]
        fn after_a_bill_the_next_reservation_is_that_bill(
            price in 1_000..10_000_000i64, bill in 1_000..10_000_000i64, again in 1_000..10_000_000i64,
        ) {
            let estimate = Money::from_micros(price);
            let first = RouteGate::default().after_bill(estimate, billed(bill), at(1), at(2));
            let is_learned = (bill - price).abs() * 5 > price;
            prop_assert_eq!(first.price.is_some(), is_learned);
            prop_assert_eq!(first.unaccepted_price().is_some(), (bill - price) * 2 > price);
            let reserved = first.reservation(estimate);
            prop_assert_eq!(reserved.micros(), if is_learned { bill } else { price });
            // What was submitted before that bill was estimated at the price before it.
            if is_learned {
                let late = first.after_bill(estimate, billed(again), at(2), at(3));
                prop_assert_eq!(&late, &first);
            }
            let accepted = first.accepted();
            prop_assert!(accepted.unaccepted_price().is_none());
            let second = accepted.after_bill(reserved, billed(again), at(3), at(4));
            let difference = (second.reservation(estimate).micros() - again).abs();
            let is_learned_again = (again - reserved.micros()).abs() * 5 > reserved.micros();
            prop_assert!(!is_learned_again || difference <= 1 + again / price.min(bill));
        }
    }

    #[test]
    fn an_accepted_price_that_rises_by_more_than_a_half_stops_the_route_again() {
        let estimate = Money::from_micros(100);
        let gate = RouteGate::default().after_bill(estimate, billed(1_000), at(1), at(2));
        let gate = gate.accepted();
        let reserved = gate.reservation(estimate);
        let gate = gate.after_bill(reserved, billed(1_300), at(3), at(4));
        assert!(gate.unaccepted_price().is_none());
        let gate = gate.after_bill(gate.reservation(estimate), billed(2_000), at(5), at(6));
        assert!(gate.unaccepted_price().is_some());
    }

    #[test]
    fn a_locked_route_is_tried_alone_after_its_time_and_opens_when_it_is_accepted() {
        let lock = ProviderSignal::HoldRoute {
            until: at(3600),
            reason: "User is locked".into(),
        };
        let held = RouteGate::default().after(&lock);
        assert_eq!(held.submits_allowed_from(), at(3600));
        let probing = held.submitting(at(3600));
        assert!(probing.submits_allowed_from() > at(3600));
        let open = probing.after(&ProviderSignal::Healthy);
        assert!(!open.goes_alone() && open.submits_allowed_from() <= at(3600));
    }
}
