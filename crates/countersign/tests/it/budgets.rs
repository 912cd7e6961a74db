//! Budgets are exact: with 32 callers at once on a real bank, across a restart, and whatever fails is
//! given back.

use crate::commits::{Bank, with_bank};
use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What may be paid out to a tenant in a day, in cents.
const BUDGET: u64 = 10_000;
const CALLERS: usize = 32;

/// The company whose payments, for a time, take nobody's leave: nothing but the budget is in the way.
async fn company(bank: &Bank) -> Company {
    let company = with_bank(bank).await;
    company.edit("posture/tools/pay_out.yaml", |text| {
        format!(
            "{text}check:\n  get: /v1/accounts/{{tenant}}/payments/{{reference}}\n  \
             expect: {{ /amount_cents: \"{{amount_cents}}\" }}\n\
             exception: {{ rung: 2, reason: A test., reviewed_by: ciso@acme.example, expires: 2099-12-31 }}\n\
             budget: {{ amount_cents: {BUDGET} per day per tenant }}\n"
        )
    });
    company.says(&["check", "."]);
    company
}

/// How many of many calls at once ended in which way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    paid: u64,
    failed: u64,
    over: u64,
}

/// What 32 callers at once try to have paid out.
struct Rush<'a> {
    gateway: &'a Arc<Gateway>,
    tenant: &'static str,
    next: AtomicU64,
}

impl Rush<'_> {
    /// So many calls of `amount`; those that `fails` says, at an account that the bank does not know.
    async fn of(&self, calls: u64, amount: u64, fails: fn(u64) -> bool) -> Told {
        let who =
            Who { agent: "support-copilot", tenant: self.tenant, session: "budgets", depots: &[] };
        let token = self.gateway.token(who).await;
        let first = self.next.fetch_add(calls, Ordering::Relaxed);
        let next = Arc::new(AtomicU64::new(first));
        let callers = (0..CALLERS).map(|_| {
            let (gateway, token, next) =
                (Arc::clone(self.gateway), token.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut told = Told::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + calls {
                        return told;
                    }
                    let of = if fails(number) { 900_000 } else { 0 } + number;
                    let payment =
                        json!({ "reference": format!("pay_{of:06}"), "amount_cents": amount });
                    let answer = gateway.call(&token, "pay_out", payment).await;
                    told.hear(&answer);
                }
            })
        });
        let mut all = Told::default();
        for caller in callers.collect::<Vec<_>>() {
            let Told { paid, failed, over } = caller.await.unwrap();
            all =
                Told { paid: all.paid + paid, failed: all.failed + failed, over: all.over + over };
        }
        all
    }
}

impl Told {
    fn hear(&mut self, answer: &Value) {
        let code = answer["error"]["code"].as_str().or(answer["status"].as_str());
        *match code {
            Some("completed") => &mut self.paid,
            Some("system_failed") => &mut self.failed,
            Some("over_budget") => &mut self.over,
            _ => panic!("{answer}"),
        } += 1;
    }
}

fn rush<'a>(gateway: &'a Arc<Gateway>, tenant: &'static str) -> Rush<'a> {
    Rush { gateway, tenant, next: AtomicU64::new(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_fits_is_paid_of_more_with_32_at_once_and_splitting_it_does_not_help() {
    let bank = Bank::default();
    let company = company(&bank).await;
    let gateway = Arc::new(company.serve());
    let alpha = rush(&gateway, "acct_alpha");
    assert_eq!(alpha.of(96, 700, |_| false).await, Told { paid: 14, failed: 0, over: 82 });
    assert_eq!(alpha.of(64, 30, |_| false).await, Told { paid: 6, failed: 0, over: 58 });
    assert_eq!(alpha.of(64, 1, |_| false).await, Told { paid: 20, failed: 0, over: 44 });
    assert_eq!(bank.sum("acct_alpha"), BUDGET);
    // It is each tenant's own, and no restart forgets it.
    let bravo = rush(&gateway, "acct_bravo");
    assert_eq!(bravo.of(96, 5_000, |_| false).await, Told { paid: 2, failed: 0, over: 94 });
    let next = alpha.next.into_inner();
    Arc::into_inner(gateway).unwrap().stop();
    company.says(&["audit", "verify", "."]);
    let gateway = Arc::new(company.serve());
    let alpha = Rush { next: next.into(), ..rush(&gateway, "acct_alpha") };
    assert_eq!(alpha.of(32, 1, |_| false).await, Told { paid: 0, failed: 0, over: 32 });
    assert_eq!((bank.sum("acct_alpha"), bank.sum("acct_bravo")), (BUDGET, BUDGET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_of_a_call_that_nobody_is_asked_about_are_two_calls() {
    let bank = Bank::default();
    let company = company(&bank).await;
    let gateway = company.serve();
    let who = Who { agent: "support-copilot", tenant: "acct_alpha", session: "twins", depots: &[] };
    let token = gateway.token(who).await;
    let payment = json!({ "reference": "pay_000001", "amount_cents": 100 });
    let (one, other) = tokio::join!(
        gateway.call(&token, "pay_out", payment.clone()),
        gateway.call(&token, "pay_out", payment.clone()),
    );
    assert_eq!([&one["status"], &other["status"]], ["completed", "completed"]);
    assert_ne!(one["call"], other["call"]);
    assert_eq!(bank.sum("acct_alpha"), 200, "each by a key of its own");
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_given_back_to_the_last_cent() {
    let bank = Bank::default();
    let company = company(&bank).await;
    let gateway = Arc::new(company.serve());
    let alpha = rush(&gateway, "acct_alpha");
    // All of it fails: how much was reserved at once, nothing is spent.
    let told = alpha.of(96, 900, |_| true).await;
    assert_eq!((told.paid, told.failed + told.over), (0, 96));
    assert!(told.failed > 0, "{told:?}");
    // Half of it fails in between: never more than the budget, and what is left is left to the cent.
    let told = alpha.of(96, 900, |number| number % 2 == 0).await;
    assert!(told.paid > 0 && told.failed > 0, "{told:?}");
    assert_eq!(bank.sum("acct_alpha"), told.paid * 900);
    let left = BUDGET - told.paid * 900;
    assert_eq!(alpha.of(1, left, |_| false).await, Told { paid: 1, failed: 0, over: 0 });
    assert_eq!(alpha.of(32, 1, |_| false).await, Told { paid: 0, failed: 0, over: 32 });
    assert_eq!(bank.sum("acct_alpha"), BUDGET);
    Arc::into_inner(gateway).unwrap().stop();
    company.says(&["audit", "verify", "."]);
}
