//! The libraries that the program is built from, as its lock file names them.

use super::{Block, Section, text};
use serde_json::{Value, json};

/// Packages, in the lock file's order, which is by name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sbom(pub Vec<Library>);

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of what the registry keeps of it; none for the program's own.
    pub checksum: Option<String>,
}

impl Sbom {
    /// Reads what cargo writes: one `key = "value"` a line below `[[package]]`. Nothing else is read.
    #[must_use]
    pub fn of_lock(lock: &str) -> Self {
        let value = |block: &str, key: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(key));
            let mut values = lines.filter_map(|rest| rest.strip_prefix(" = \"")?.strip_suffix('"'));
            values.next().map(str::to_owned)
        };
        let blocks = lock.split("[[package]]").skip(1).filter_map(|block| {
            Some(Library {
                name: value(block, "name")?,
                version: value(block, "version")?,
                checksum: value(block, "checksum"),
            })
        });
        Self(blocks.collect())
    }

    /// As CycloneDX 1.6. It has no serial number and no time, so that it is the same each time.
    #[must_use]
    pub fn cyclone_dx(&self, version: &str) -> Value {
        let components = self.0.iter().map(|library| {
            let Library { name, version, checksum } = library;
            let purl = format!("pkg:cargo/{name}@{version}");
            let mut component = json!({
                "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            });
            if let (Some(checksum), Some(members)) = (checksum, component.as_object_mut()) {
                let hashes = json!([{ "alg": "SHA-256", "content": checksum }]);
                members.insert("hashes".to_owned(), hashes);
            }
            component
        });
        json!({
            "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": { "component": {
                "type": "application", "bom-ref": "countersign", "name": "countersign", "version": version,
            } },
            "components": components.collect::<Vec<_>>(),
        })
    }
}

/// How many libraries stand in a row.
const PAIRS: usize = 3;

pub(super) fn section(sbom: &Sbom) -> Section {
    let own = sbom.0.iter().filter(|library| library.checksum.is_none()).count();
    let others = sbom.0.len().saturating_sub(own);
    let rows = sbom.0.chunks(PAIRS).map(|libraries| {
        let pairs = libraries.iter().flat_map(|l| [l.name.clone(), l.version.clone()]);
        let blank = std::iter::repeat_with(String::new);
        pairs.chain(blank).take(PAIRS.saturating_mul(2)).collect()
    });
    let blocks = vec![
        text(format!(
            "{others} libraries of others and {own} crates of the project's own are named by the lock file of this build. It names those too that only other operating systems and tests need. As CycloneDX 1.6, with the digest of each package: `sbom` of `countersign review --format json`."
        )),
        Block::Table(
            &["library", "version", "library", "version", "library", "version"],
            rows.collect(),
        ),
    ];
    Section { id: "sbom", title: "Software bill of materials", blocks }
}
