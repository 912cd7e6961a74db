//! What `init` made up, and nobody has replaced.

use crate::deployment::{Deployment, Reference};
use crate::finding::{Code, Finding, Place};
use crate::load::Loaded;
use secrecy::ExposeSecret as _;
use serde_json::Value;

/// Names that are nobody's (RFC 2606), which the template uses. What ends in `.example` is for tests.
const NOBODYS: [&str; 3] = ["example.com", "example.net", "example.org"];
/// The company of the template's vendor.
const COMPANY: &str = "Example Models Ltd";

/// What of it is left where it would count.
pub(crate) fn left(deployment: &Deployment, loaded: &Loaded) -> Vec<Finding> {
    let finding = |place: &Place, message, help: &str| Finding {
        code: Code::TemplateLeft,
        place: place.clone(),
        message,
        help: Some(help.to_owned()),
    };
    let vendors = loaded.vendors.values().filter_map(|vendor| {
        let said = |at| vendor.record.pointer(at).and_then(Value::as_str);
        let by = said("/assessment/approver").filter(|by| nobodys(by));
        let made_up = said("/legal_name") == Some(COMPANY);
        let message = match by {
            Some(by) => format!("`{by}`, who decided about `{}`, is nobody", vendor.name),
            None if made_up => format!("the company of `{}` is made up", vendor.name),
            None => return None,
        };
        let help = "write the record of your own vendor (`countersign vendor new NAME`), and have it decided";
        Some(finding(&vendor.place, message, help))
    });
    let references = deployment.references.iter().filter_map(|(name, reference)| {
        let Reference::Value(value) = reference else { return None };
        let place = deployment.written.references.get(name)?;
        let message = format!("what `{name}` stands for is at a name that is nobody's");
        let help = "write the address of your own";
        nobodys(value.expose_secret()).then(|| finding(place, message, help))
    });
    vendors.chain(references).collect()
}

/// Whether a text names something at such a name.
fn nobodys(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut names = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
    names.any(|name| {
        let name = name.trim_end_matches('.');
        NOBODYS
            .iter()
            .any(|of| name.strip_suffix(of).is_some_and(|at| at.is_empty() || at.ends_with('.')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_nobodys_is_found_wherever_it_stands() {
        for of in [
            "https://hooks.example.com/orders",
            "HTTPS://EXAMPLE.NET",
            "smtp.example.org.:587",
            "ciso@example.com",
            "postgres://u:p@db.example.com/shop",
        ] {
            assert!(nobodys(of), "{of}");
        }
        for of in [
            "https://desk.acme.example/hook",
            "https://myexample.com",
            "data/shop.db",
            "example.com.acme.io",
        ] {
            assert!(!nobodys(of), "{of}");
        }
    }
}
