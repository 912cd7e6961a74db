//! Resources and prompts: tools that are offered under another method, and called by the same pipeline.

use super::{Doors, Known};
use countersign_core::call::{Answer, Listed};
use countersign_core::refusal::Refusal;
use countersign_core::tool::Offered;
use rmcp::ErrorData;
use rmcp::model::{
    GetPromptResult, Prompt, PromptArgument, PromptMessage, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Whether anybody is offered any: what a server says of itself is the same for all.
pub(super) fn any(doors: &Doors, of: fn(&Offered) -> bool) -> bool {
    let in_force = doors.in_force.load();
    let agents = in_force.monitor.posture.agents.values();
    let mut grants = agents.flat_map(|agent| agent.grants.values());
    grants.any(|grant| of(&grant.tool.offered))
}

pub(super) const fn is_resource(of: &Offered) -> bool {
    matches!(of, Offered::Resource(_))
}

pub(super) const fn is_prompt(of: &Offered) -> bool {
    matches!(of, Offered::Prompt)
}

/// The resources of a caller, and the templates of several.
pub(super) fn resources(known: &Known) -> (Vec<Resource>, Vec<ResourceTemplate>) {
    let (mut resources, mut templates) = (Vec::new(), Vec::new());
    for Listed { name, description, offered, .. } in known.tools() {
        let Offered::Resource(uri) = offered else { continue };
        if uri.is_template() {
            let template = ResourceTemplate::new(uri.to_string(), name.as_str());
            templates.push(template.with_description(description));
        } else {
            let resource = Resource::new(uri.to_string(), name.as_str());
            resources.push(resource.with_description(description));
        }
    }
    (resources, templates)
}

/// The prompts of a caller.
pub(super) fn prompts(known: &Known) -> Vec<Prompt> {
    let listed = known.tools().into_iter().filter(|listed| listed.offered == Offered::Prompt);
    let prompts = listed.map(|Listed { name, description, input, .. }| {
        let required = input.get("required").and_then(Value::as_array);
        let required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        let properties = input.get("properties").and_then(Value::as_object);
        let arguments = properties.into_iter().flatten().map(|(name, schema)| {
            let argument = PromptArgument::new(name.as_str()).with_required(required(name));
            match schema.get("description").and_then(Value::as_str) {
                Some(description) => argument.with_description(description),
                None => argument,
            }
        });
        Prompt::new(name.as_str(), Some(description), Some(arguments.collect()))
    });
    prompts.collect()
}

/// Reads a resource. One that nobody offers this caller is a call of an unknown tool, and recorded so.
pub(super) async fn read(
    doors: &Doors,
    known: Known,
    uri: String,
) -> Result<ReadResourceResult, ErrorData> {
    let found = known.tools().into_iter().find_map(|listed| match listed.offered {
        Offered::Resource(of) => Some((listed.name.to_string(), of.arguments_in(&uri)?)),
        Offered::Tool | Offered::Prompt => None,
    });
    // No tool is called so.
    let none = || (format!("resource {uri}"), Map::new());
    let (tool, arguments) = found.unwrap_or_else(none);
    let answer = doors.call(known, tool, Value::Object(arguments), None).await;
    // Which one there is not is for whoever reads several (SEP-2164).
    let told = told::<ResourceContents>(answer, "contents", Some(json!({ "uri": uri })))?;
    Ok(ReadResourceResult::new(told))
}

/// Gets a prompt.
pub(super) async fn get(
    doors: &Doors,
    known: Known,
    (name, arguments): (String, Map<String, Value>),
) -> Result<GetPromptResult, ErrorData> {
    // What is offered as something else is no prompt.
    let is_prompt =
        |listed: &Listed| listed.name.as_str() == name && listed.offered == Offered::Prompt;
    let tool = if known.tools().iter().any(is_prompt) { name } else { format!("prompt {name}") };
    let answer = doors.call(known, tool, Value::Object(arguments), None).await;
    Ok(GetPromptResult::new(told::<PromptMessage>(answer, "messages", None)?))
}

/// What an answer holds; or the error that it is, since neither method has results that are one.
fn told<T: DeserializeOwned>(
    answer: Option<Answer>,
    what: &str,
    which: Option<Value>,
) -> Result<Vec<T>, ErrorData> {
    let lost = || ErrorData::internal_error("the call was lost", None);
    let answer = answer.ok_or_else(lost)?;
    let call = answer.call().as_str().to_owned();
    let public = match answer {
        Answer::Completed(completed) => {
            let mut value = completed.into_value();
            let items = value.get_mut(what).map(Value::take).ok_or_else(lost)?;
            return serde_json::from_value(items).map_err(|_odd| lost());
        }
        Answer::Refused(refused) if *refused.refusal() == Refusal::UnknownTool => {
            return Err(ErrorData::invalid_params("there is none of that name", which));
        }
        Answer::Refused(refused) => refused.public(),
        Answer::Faulted(faulted) => faulted.public(),
    };
    let data = Value::Object(super::told(&public, &call));
    let message = format!("{} {}", public.message, public.next);
    Err(ErrorData::new(rmcp::model::ErrorCode(REFUSED), message, Some(data)))
}

/// Of ours: outside of what JSON-RPC and MCP keep for themselves.
const REFUSED: i32 = -31_000;
