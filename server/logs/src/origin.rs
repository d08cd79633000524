//! Where lines come from: what consecutive lines of one replica have in common, kept once.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use flukedeploy_domain::log_entry::{LogFilter, LogMetadata, LogSource, SourceType};

use crate::bloom::{hash_bytes, hash_feature};
use crate::codec::Malformed;

/// Everything of an entry but its id, time, level, message, duration, stack trace and fields.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) source: LogSource,
    pub(crate) metadata: LogMetadata,
    pub(crate) tags: Vec<String>,
    pub(crate) json: Vec<u8>,
    hash: u64,
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.json == other.json
    }
}

impl Origin {
    fn of(
        source: &LogSource,
        metadata: &LogMetadata,
        tags: &[String],
        hash: u64,
    ) -> Result<Self, serde_json::Error> {
        let metadata = LogMetadata {
            duration_ms: None,
            stack_trace: None,
            fields: BTreeMap::new(),
            ..metadata.clone()
        };
        Ok(Self {
            json: serde_json::to_vec(&(source, &metadata, tags))?,
            source: source.clone(),
            metadata,
            tags: tags.to_vec(),
            hash,
        })
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, Malformed> {
        let (source, metadata, tags) = serde_json::from_slice(json).map_err(|_| Malformed)?;
        let hash = hash_of(&source, &metadata);
        Ok(Self {
            source,
            metadata,
            tags,
            json: json.to_vec(),
            hash,
        })
    }

    pub(crate) fn app(&self) -> &str {
        &self.metadata.app_name
    }

    /// The service that a container's line belongs to.
    pub(crate) fn service(&self) -> Option<&str> {
        match self.source.kind {
            SourceType::Container => self.source.service_id.as_deref(),
            SourceType::Deployment | SourceType::System => None,
        }
    }

    fn is_of(&self, source: &LogSource, metadata: &LogMetadata, tags: &[String]) -> bool {
        // Taken apart, so that a new field cannot be forgotten here.
        let LogMetadata {
            event_type,
            app_name,
            deployment_id,
            build_id,
            version,
            duration_ms: _,
            replicas,
            health_status,
            error_code,
            stack_trace: _,
            strategy,
            environment,
            phase,
            release,
            fields: _,
        } = metadata;
        let own = &self.metadata;
        self.source == *source
            && own.deployment_id == *deployment_id
            && own.app_name == *app_name
            && own.event_type == *event_type
            && own.build_id == *build_id
            && own.version == *version
            && own.replicas == *replicas
            && own.health_status == *health_status
            && own.error_code == *error_code
            && own.strategy == *strategy
            && own.environment == *environment
            && own.phase == *phase
            && own.release == *release
            && self.tags == tags
    }

    /// What a block's filter knows about the lines in it, beside their words.
    pub(crate) fn features(&self) -> Vec<u64> {
        let LogSource {
            kind,
            node_id,
            task_id,
            stream,
            ..
        } = &self.source;
        let metadata = &self.metadata;
        let wanted = LogFilter {
            deployment_id: metadata.deployment_id.clone(),
            event_type: Some(metadata.event_type),
            environment: metadata.environment.clone(),
            release: metadata.release,
            task_id: task_id.clone(),
            node_id: node_id.clone(),
            stream: stream.clone(),
            source_type: Some(*kind),
            ..LogFilter::default()
        };
        let mut features = features_of(&wanted);
        features.extend(self.service().map(service_feature));
        features
    }
}

pub(crate) fn service_feature(service: &str) -> u64 {
    hash_feature(b"service", service.as_bytes())
}

/// What a block must have for a line in it to pass the filter, as its bloom filter knows it.
pub(crate) fn features_of(filter: &LogFilter) -> Vec<u64> {
    let texts = [
        (&b"deployment"[..], &filter.deployment_id),
        (b"environment", &filter.environment),
        (b"task", &filter.task_id),
        (b"node", &filter.node_id),
        (b"stream", &filter.stream),
    ];
    let mut features: Vec<u64> = texts
        .into_iter()
        .filter_map(|(name, value)| Some(hash_feature(name, value.as_ref()?.as_bytes())))
        .collect();
    features.extend(
        filter
            .release
            .map(|release| hash_feature(b"release", &release.to_le_bytes())),
    );
    features.extend(
        filter
            .event_type
            .map(|event| hash_feature(b"event", event.as_str().as_bytes())),
    );
    features.extend(filter.source_type.map(|kind| {
        let name: &[u8] = match kind {
            SourceType::Deployment => b"deployment",
            SourceType::Container => b"container",
            SourceType::System => b"system",
        };
        hash_feature(b"source", name)
    }));
    features
}

/// Tells origins apart well enough; [`Origin::is_of`] has the last word. Of texts only length,
/// beginning and end are looked at: names and ids that go together differ there.
fn hash_of(source: &LogSource, metadata: &LogMetadata) -> u64 {
    let optional = [
        &source.task_id,
        &source.stream,
        &source.service_id,
        &source.node_id,
        &metadata.deployment_id,
        &metadata.build_id,
        &metadata.error_code,
    ];
    let mut hash = u64::from(metadata.release.unwrap_or(0)) << 32
        | u64::from(metadata.replicas.unwrap_or(0)) << 8
        | metadata.event_type as u64;
    for text in [&metadata.app_name, &source.container_name] {
        hash = join(hash, ends_of(text.as_bytes()));
    }
    for text in optional.into_iter().flatten() {
        hash = join(hash, ends_of(text.as_bytes()));
    }
    hash ^ hash >> 32
}

/// One multiplication waits for another: the fewer, the faster.
fn join(hash: u64, part: u64) -> u64 {
    (hash.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn ends_of(text: &[u8]) -> u64 {
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            let ends = first.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ last.rotate_left(23);
            ends ^ text.len() as u64
        }
        _ => hash_bytes(1, text),
    }
}

/// Takes what is a hash already for one.
#[derive(Debug, Clone, Copy, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The distinct origins of a batch or block, in the order of their first line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    list: Vec<Arc<Origin>>,
    by_hash: HashMap<u64, Vec<u32>, BuildHasherDefault<AsItIs>>,
    bytes: usize,
}

impl Origins {
    pub(crate) fn list(&self) -> &[Arc<Origin>] {
        &self.list
    }

    /// Memory of what lines have in common, in bytes and roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn of_parts(
        &mut self,
        source: &LogSource,
        metadata: &LogMetadata,
        tags: &[String],
    ) -> Result<u32, serde_json::Error> {
        let hash = hash_of(source, metadata);
        let known = self.find(hash, |origin| origin.is_of(source, metadata, tags));
        match known {
            Some(index) => Ok(index),
            None => Ok(self.push(Arc::new(Origin::of(source, metadata, tags, hash)?))),
        }
    }

    pub(crate) fn of_origin(&mut self, origin: &Arc<Origin>) -> u32 {
        self.find(origin.hash, |known| known == &**origin)
            .unwrap_or_else(|| self.push(Arc::clone(origin)))
    }

    fn find(&self, hash: u64, is: impl Fn(&Origin) -> bool) -> Option<u32> {
        let known = self.by_hash.get(&hash)?;
        known
            .iter()
            .copied()
            .find(|index| is(&self.list[*index as usize]))
    }

    pub(crate) fn push(&mut self, origin: Arc<Origin>) -> u32 {
        let index = crate::codec::to_u32(self.list.len());
        self.by_hash.entry(origin.hash).or_default().push(index);
        // Once as JSON, once as values.
        self.bytes += origin.json.len() * 2;
        self.list.push(origin);
        index
    }
}
