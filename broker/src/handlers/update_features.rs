//! UpdateFeatures: an administrator finalises features of the cluster (KIP-584). Brokers on ZooKeeper support none, so only
//! what is left of some in `/feature` can be taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::cluster::controller::{FeaturesKept, NOT_CONTROLLER};
use crate::cluster::znodes::{FeatureInfo, paths};
use crate::handlers::Context;
use crate::house::House;

/// From this version on an update says how it changes the level.
const UPGRADE_TYPE_SINCE: i16 = 1;

/// How a level may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
    Unknown,
}

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    if !house.is_controller() {
        return UpdateFeaturesResponse::default()
            .with_error_code(ResponseError::NotController.code())
            .with_error_message(Some(StrBytes::from_static_str(NOT_CONTROLLER)));
    }
    let finalised = finalised(house).await;
    let mut refusals: BTreeMap<&StrBytes, Option<(ResponseError, String)>> = BTreeMap::new();
    for update in &request.feature_updates {
        let level = finalised.get(update.feature.as_str()).copied();
        let refusal = judge(update, level, context.version);
        refusals.insert(&update.feature, refusal.map(|sentence| (ResponseError::InvalidRequest, sentence)));
    }
    let going = refusals.iter().filter(|(_, refusal)| refusal.is_none());
    let going: BTreeSet<String> = going.map(|(name, _)| name.to_string()).collect();
    if !going.is_empty()
        && let Err(kept) = house.to_controller().here().drop_features(going).await
    {
        warn!("features stay finalised: {kept}");
        let error = match kept {
            FeaturesKept::NotController(_) => ResponseError::NotController,
            FeaturesKept::Failed(_) => ResponseError::FeatureUpdateFailed,
        };
        for refusal in refusals.values_mut().filter(|refusal| refusal.is_none()) {
            *refusal = Some((error, error.to_string()));
        }
    }
    let results = refusals.into_iter().map(|(name, refusal)| {
        let (code, message) = refusal.map_or((0, None), |(error, sentence)| (error.code(), Some(sentence)));
        UpdatableFeatureResult::default()
            .with_feature(name.clone())
            .with_error_code(code)
            .with_error_message(message.map(StrBytes::from_string))
    });
    UpdateFeaturesResponse::default().with_error_message(None).with_results(results.collect())
}

/// What `/feature` holds; nothing where it cannot be read.
async fn finalised(house: &House) -> BTreeMap<String, i16> {
    let found = house.zookeeper.get(paths::FEATURE).await.ok().flatten();
    let info = found.and_then(|(data, _)| FeatureInfo::decode(&data).ok());
    info.map(|info| info.features.into_iter().collect()).unwrap_or_default()
}

/// Why the update is refused, in Kafka's order and words. Without a refusal it takes the feature out.
fn judge(update: &FeatureUpdateKey, finalised: Option<i16>, version: i16) -> Option<String> {
    let direction = direction(update, version);
    let level = update.max_version_level;
    if update.feature.is_empty() {
        return Some("Feature name can not be empty.".to_owned());
    }
    if direction == Direction::Unknown {
        return Some("Received unknown upgrade type.".to_owned());
    }
    if level < 1 && direction != Direction::Upgrade {
        return finalised.is_none().then(|| "Can not delete non-existing finalized feature.".to_owned());
    }
    if level < 1 {
        return Some(format!(
            "Can not provide versionLevel: {level} less than 1 without setting the SAFE downgradeType in the request."
        ));
    }
    let unsupported =
        "Could not apply finalized feature update because the provided feature is not supported.";
    let Some(existing) = finalised else { return Some(unsupported.to_owned()) };
    Some(if level == existing {
        let verb = if direction == Direction::SafeDowngrade { "downgrade" } else { "upgrade" };
        format!("Can not {verb} a finalized feature from existing versionLevel:{existing} to the same value.")
    } else if level < existing && direction != Direction::SafeDowngrade {
        format!(
            "Can not downgrade finalized feature from existing versionLevel:{existing} to provided \
             versionLevel:{level} without setting the downgradeType to SAFE in the request."
        )
    } else if level > existing && direction != Direction::Upgrade {
        format!(
            "When the downgradeType is set to SAFE in the request, the provided versionLevel:{level} can not be \
             greater than existing versionLevel:{existing}."
        )
    } else {
        unsupported.to_owned()
    })
}

fn direction(update: &FeatureUpdateKey, version: i16) -> Direction {
    if version < UPGRADE_TYPE_SINCE {
        return if update.allow_downgrade { Direction::SafeDowngrade } else { Direction::Upgrade };
    }
    match update.upgrade_type {
        1 => Direction::Upgrade,
        2 => Direction::SafeDowngrade,
        3 => Direction::UnsafeDowngrade,
        _ => Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(level: i16, upgrade_type: i8) -> FeatureUpdateKey {
        FeatureUpdateKey::default()
            .with_feature(StrBytes::from_static_str("f"))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type)
    }

    #[test]
    fn only_a_feature_that_is_there_can_be_taken_out() {
        assert_eq!(judge(&update(0, 2), Some(3), 1), None);
        let missing = judge(&update(0, 2), None, 1);
        assert_eq!(missing.as_deref(), Some("Can not delete non-existing finalized feature."));
    }

    #[test]
    fn nothing_can_be_finalised_and_the_reason_is_kafkas() {
        let refused = |update, existing| judge(&update, existing, 1).expect("refused");
        assert!(refused(update(1, 1), None).ends_with("the provided feature is not supported."));
        assert!(refused(update(0, 1), None).starts_with("Can not provide versionLevel: 0 less than 1"));
        assert!(refused(update(3, 1), Some(3)).starts_with("Can not upgrade a finalized feature"));
        assert!(refused(update(2, 1), Some(3)).starts_with("Can not downgrade finalized feature"));
        assert!(refused(update(4, 2), Some(3)).starts_with("When the downgradeType is set to SAFE"));
        assert_eq!(refused(update(1, 0), None), "Received unknown upgrade type.");
    }
}
