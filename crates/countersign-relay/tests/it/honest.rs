//! An hour of honest work raises nothing, and what hides in it is found.

use crate::rules::{expected, provoke};
use crate::world::{Mood, World, own_digit};
use countersign_core::act::Act;
use countersign_core::alert::Rule;
use countersign_core::id::DraftId;
use serde_json::{Value, json};

const CUSTOMERS: [&str; 3] = ["alpha", "bravo", "charlie"];
/// Sessions of the desk at a time, for each customer.
const SESSIONS: u64 = 4;

/// A generator that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Whether something happens that happens so often in a thousand times.
    fn per_mille(&mut self, often: u64) -> bool {
        self.roll(1_000) < often
    }
}

/// One hour, second by second. The mix was written down before it was first run:
///
/// - **The desk.** `support-copilot` answers for three customers, four people each at a time; each
///   person's session calls about every 20 seconds and is followed by another after 25 minutes. That is 36
///   calls a minute; in the first ten minutes, before everybody is there, half of it.
/// - **The planner.** `dispatch-planner` sleeps, and every ten minutes plans for the three customers: 40
///   calls each within two minutes.
/// - **A burst.** From minute 38 to 44 a customer's depot is closed, and the desk asks three times as often.
/// - **Mistakes of the model**, of a thousand calls of the desk: 20 have arguments that do not fit; 5 name
///   another customer, and half of those are tried again unchanged; 5 name a tool that there is not, and
///   half of those are tried again; 3 are the same call six times, which breaks the loop.
/// - **A tool is withdrawn** at minute 20. Whoever still has it on their list calls it once more within 30
///   seconds, every other one twice.
/// - **Systems.** For 40 seconds at minute 50 none can be reached.
/// - **Drafts.** About every two minutes the desk proposes something: an address, a refund, a letter. Of
///   ten, seven are approved within two to five minutes, two are rejected, one is withdrawn. The agent asks
///   again after about each minute. One in ten of those times it mistypes the reference.
/// - **The clock** is set back by two seconds at minute 31. **The gateway** is stopped and started at
///   minute 33, and killed at minute 47.
struct Hour {
    world: World,
    dice: Dice,
    second: u64,
    calls: u64,
    /// Drafts under way: which, whose, and the second at which it is decided.
    drafts: Vec<(DraftId, String, u64)>,
}

impl Hour {
    async fn run(&mut self) {
        for second in 0..3_600 {
            self.second = second;
            self.events();
            self.desk().await;
            self.planner().await;
            self.proposals().await;
            self.world.tend().await;
            self.world.pass(1);
        }
    }

    fn events(&mut self) {
        match self.second {
            1_860 => self.world.pass(-2),
            1_980 => self.world.restart(true),
            2_820 => self.world.restart(false),
            1_200 => self.world.withdraw("search_tickets"),
            3_000 => self.world.feel(Mood::Away),
            3_040 => self.world.feel(Mood::Well),
            _ => {}
        }
    }

    /// How many of a thousand seconds one session calls in.
    fn pace(&self) -> u64 {
        match self.second {
            0..600 => 25,
            2_280..2_640 => 150,
            _ => 50,
        }
    }

    async fn desk(&mut self) {
        let pace = self.pace();
        for customer in CUSTOMERS {
            for session in 0..SESSIONS {
                let who = self.session(customer, session);
                let stale = (1_200..1_230).contains(&self.second);
                if stale && self.dice.roll(20) == 0 {
                    let text = json!({ "text": "pallet", "limit": 5 });
                    self.call(&who, "search_tickets", text).await;
                }
                if self.dice.per_mille(pace) {
                    self.question(&who, customer).await;
                }
            }
        }
    }

    fn session(&self, customer: &str, session: u64) -> String {
        format!("support-copilot {customer} {session}-{}", self.second / 1_500)
    }

    async fn question(&mut self, who: &str, customer: &str) {
        match self.dice.roll(1_000) {
            0..20 => self.call(who, "get_account_usage", json!({ "days": 4_000 })).await,
            20..25 => {
                let other = if customer == "alpha" { "acct_bravo" } else { "acct_alpha" };
                let days = 1 + self.dice.roll(90);
                let usage = json!({ "account_id": other, "days": days });
                self.now_and_again(who, "get_account_usage", usage).await;
            }
            25..30 => {
                let name = ["get_usage", "list_tickets", "refund"][self.dice.roll(3) as usize];
                self.now_and_again(who, name, json!({})).await;
            }
            30..33 => {
                for _ in 0..6 {
                    let shipment = json!({ "shipment_id": self.own("shp", customer, 7) });
                    self.call(who, "get_shipment", shipment).await;
                }
            }
            _ => {
                let (tool, arguments) = self.honest(customer);
                self.call(who, tool, arguments).await;
            }
        }
    }

    async fn now_and_again(&mut self, who: &str, tool: &str, arguments: Value) {
        self.call(who, tool, arguments.clone()).await;
        if self.dice.roll(2) == 0 {
            self.call(who, tool, arguments).await;
        }
    }

    fn own(&self, what: &str, customer: &str, number: u64) -> String {
        format!("{what}_{number:05}{}", own_digit(customer))
    }

    fn honest(&mut self, customer: &str) -> (&'static str, Value) {
        let account = format!("acct_{customer}");
        let number = self.dice.roll(10_000);
        match self.dice.roll(7) {
            0 => ("get_account_usage", json!({ "account_id": account, "days": 1 + number % 365 })),
            1 => ("list_invoices", json!({ "account_id": account, "limit": 1 + number % 50 })),
            2 => ("get_shipment", json!({ "shipment_id": self.own("shp", customer, number) })),
            3 => ("read_ticket", json!({ "ticket_id": self.own("tkt", customer, number) })),
            4 => ("get_contact", json!({ "contact_id": format!("con_{number:06}") })),
            5 => ("list_contacts", json!({ "account_id": account, "limit": 1 + number % 20 })),
            _ => {
                let note = format!("asked again, {number}");
                (
                    "annotate_ticket",
                    json!({ "ticket_id": self.own("tkt", customer, number), "note": note }),
                )
            }
        }
    }

    async fn planner(&mut self) {
        if self.second % 600 >= 120 || self.dice.roll(3) != 0 {
            return;
        }
        for customer in CUSTOMERS {
            let who = format!("dispatch-planner {customer} tour-{}", self.second / 600);
            let number = self.dice.roll(28);
            let day = format!("2026-12-{:02}", 1 + number);
            let (tool, arguments) = match self.dice.roll(2) {
                0 => ("list_departures", json!({ "depot": "HAM", "day": day })),
                _ => ("get_shipment", json!({ "shipment_id": self.own("shp", customer, number) })),
            };
            self.call(&who, tool, arguments).await;
        }
    }

    async fn call(&mut self, who: &str, tool: &str, arguments: Value) {
        self.calls += 1;
        self.world.call(who, tool, arguments).await;
    }

    // ── drafts ──────────────────────────────────────────────────────────────────────────────────

    async fn proposals(&mut self) {
        if self.dice.roll(120) == 0 {
            self.propose().await;
        }
        for (draft, who, until) in std::mem::take(&mut self.drafts) {
            if self.second >= until {
                self.settle(draft, &who).await;
                continue;
            }
            if self.dice.roll(60) == 0 {
                let mut reference = draft.to_string();
                if self.dice.roll(10) == 0 {
                    reference.replace_range(4..8, "0000");
                }
                self.call(&who, "check_draft", json!({ "reference": reference })).await;
            }
            self.drafts.push((draft, who, until));
        }
    }

    async fn propose(&mut self) {
        let customer = CUSTOMERS[self.dice.roll(3) as usize];
        let who = self.session(customer, self.dice.0 % SESSIONS);
        let number = self.dice.roll(10_000);
        let invoice = self.own("inv", customer, number);
        let (tool, arguments) = match self.dice.roll(3) {
            0 => {
                let street = format!("Hafenstrasse {number}");
                ("change_billing_address", json!({ "street": street, "city": "Hamburg" }))
            }
            1 => (
                "refund_invoice",
                json!({ "invoice_id": invoice, "amount_cents": 1 + number % 900, "note": "late" }),
            ),
            _ => {
                let to = format!("nora@{customer}.example");
                let message = format!("It is on its way, {number}.");
                (
                    "send_customer_email",
                    json!({ "to": to, "subject": "Your shipment", "message": message }),
                )
            }
        };
        self.calls += 1;
        let (code, draft) = self.world.ask(&who, tool, arguments, None).await;
        if let Some(draft) = draft.filter(|_| code == "approval_required") {
            self.drafts.push((draft, who, self.second + 120 + self.dice.roll(180)));
        }
    }

    async fn settle(&mut self, draft: DraftId, who: &str) {
        match self.dice.roll(10) {
            0..7 => self.world.decide("sam", Act::Approve(draft)).await,
            7..9 => self.world.decide("sam", Act::Reject(draft, "not this one".to_owned())).await,
            _ => {
                let taken_back = json!({ "reference": draft.to_string(), "withdraw": true });
                self.call(who, "check_draft", taken_back).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_of_honest_work_raises_nothing_and_what_hides_in_it_is_found() {
    let mut hour = Hour {
        world: World::new(),
        dice: Dice(20_261_126),
        second: 0,
        calls: 0,
        drafts: Vec::new(),
    };
    hour.run().await;
    for (draft, who, _) in std::mem::take(&mut hour.drafts) {
        hour.settle(draft, &who).await;
    }
    hour.world.tend().await;
    let world = &hour.world;
    world.relay_all().await;
    let codes = world.codes();
    eprintln!("{} calls: {codes:?}", hour.calls);
    assert_eq!(world.alerts(), []);
    assert!(hour.calls > 3_000, "busy");
    for code in ["out_of_scope", "unknown_tool", "rate_limited", "invalid_arguments"] {
        assert!(codes.contains_key(code), "no mistake with {code}");
    }
    // The hour is all there: the same, with what each rule is about hidden in it.
    let whose = [("support-copilot", "alpha"), ("dispatch-planner", "bravo")];
    let mut found = Vec::new();
    for rule in Rule::ALL {
        let whose = if rule == Rule::CallSpike { whose[1] } else { whose[0] };
        provoke(world, rule, whose).await;
        found.push(expected(rule, whose));
    }
    world.relay_all().await;
    let alerts = world.alerts();
    assert_eq!(alerts.len(), found.len(), "{alerts:?}");
    for (alert, expected) in alerts.iter().zip(&found) {
        assert_eq!(
            (alert.0, &alert.1, &alert.2, &alert.3),
            (expected.0, &expected.1, &expected.2, &expected.3)
        );
    }
    assert_eq!(world.waiting().await, 0);
    world.verified();
}
