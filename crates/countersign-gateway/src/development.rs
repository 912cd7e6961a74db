//! The development issuer over HTTP: a token for whoever asks, and nowhere but in development.

use crate::bound::DEVELOPMENT_TOKEN_TTL_S;
use crate::door::{Doors, http::problem};
use crate::identity::PeopleConfig;
use crate::identity::development::{DevelopmentIssuer, PersonRequest, TokenRequest};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use countersign_core::args;
use countersign_core::id::ActorId;
use countersign_core::port::{Clock, Entropy};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The development issuer and what it needs to make tokens.
#[derive(Debug)]
pub struct Development {
    /// The issuer.
    pub issuer: DevelopmentIssuer,
    /// How people sign in, if they do so here.
    pub people: Option<PeopleConfig>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For token ids.
    pub entropy: Arc<dyn Entropy>,
}

/// `POST /dev/token` with `{"agent", "tenant", "user", "session"?, "scopes"?, "attributes"?}`, or for a
/// person `{"person", "address"?, "groups"?, "tenants"?, "auth_time"?}`.
pub(crate) async fn token(
    State((development, doors)): State<(Arc<Development>, Doors)>,
    body: Bytes,
) -> Response {
    let bad = |why: &str| problem(StatusCode::BAD_REQUEST, "malformed_request", why);
    let value = match args::parse(&body) {
        Ok(value) => value,
        Err(error) => return bad(&error.to_string()),
    };
    let minted = match value.get("person") {
        Some(_) => development.for_person(&value),
        None => development.for_agent(&value, &doors),
    };
    match minted {
        Ok(token) => Json(json!({
            "access_token": token, "token_type": "Bearer", "expires_in": DEVELOPMENT_TOKEN_TTL_S,
        }))
        .into_response(),
        Err(why) => bad(&why),
    }
}

impl Development {
    fn for_agent(&self, value: &Value, doors: &Doors) -> Result<String, String> {
        let request = of_agent(value)
            .ok_or("the body must have `agent`, `tenant` and `user`, each a string")?;
        let in_force = doors.in_force.load();
        let agents = || in_force.monitor.posture.agents.keys().map(ActorId::as_str);
        if !agents().any(|agent| agent == request.actor) {
            let agents: Vec<&str> = agents().collect();
            return Err(format!(
                "no agent is `{}`: there are {}",
                request.actor,
                agents.join(", ")
            ));
        }
        self.issuer.mint(&request, &in_force.claims, self.clock.now(), self.id())
    }

    fn for_person(&self, value: &Value) -> Result<String, String> {
        let people = self.people.as_ref().ok_or("people do not sign in here")?;
        let request = of_person(value).ok_or(
            "the body must have `person`, perhaps `address`, texts, `groups`, `tenants`, lists of texts, and `auth_time`",
        )?;
        self.for_made_up(request, people)
    }

    /// A token for somebody made up.
    pub(crate) fn for_made_up(
        &self,
        request: PersonRequest,
        people: &PeopleConfig,
    ) -> Result<String, String> {
        self.issuer.mint_person(request, people, self.clock.now(), self.id())
    }

    fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        id
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

/// `None` for what is no list of texts; one that is left out is empty.
fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    let Some(values) = value.get(name) else { return Some(Vec::new()) };
    values.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

fn of_person(value: &Value) -> Option<PersonRequest> {
    let person = text(value, "person")?;
    let address = match value.get("address") {
        Some(address) => Some(address.as_str()?.to_owned()),
        None => person.contains('@').then(|| person.clone()),
    };
    let signed_in_s = match value.get("auth_time") {
        Some(at) => Some(at.as_i64()?),
        None => None,
    };
    Some(PersonRequest {
        person,
        address,
        groups: texts(value, "groups")?,
        tenants: texts(value, "tenants")?,
        signed_in_s,
        ttl_s: DEVELOPMENT_TOKEN_TTL_S,
    })
}

fn of_agent(value: &Value) -> Option<TokenRequest> {
    let attributes = match value.get("attributes") {
        None => BTreeMap::new(),
        Some(members) => {
            let names = members.as_object()?.keys();
            names.map(|name| Some((name.clone(), texts(members, name)?))).collect::<Option<_>>()?
        }
    };
    Some(TokenRequest {
        actor: text(value, "agent")?,
        tenant: text(value, "tenant")?,
        subject: text(value, "user")?,
        session: text(value, "session"),
        scopes: texts(value, "scopes")?,
        attributes,
        ttl_s: DEVELOPMENT_TOKEN_TTL_S,
    })
}
