//! Which Swarm secrets a release or a job finds as files.

use std::collections::BTreeMap;

use flukedeploy_domain::app::Settings;
use flukedeploy_domain::image::PinnedImage;
use flukedeploy_domain::names::{AppName, EnvironmentName};
use flukedeploy_domain::release::secret_name;

use crate::platform::Platform;
use crate::ports::SecretMount;

/// In the order of the variables' names.
pub(super) fn secrets_of(
    px: &Platform,
    (app, environment): (&AppName, &EnvironmentName),
    settings: &Settings,
    image: &PinnedImage,
) -> Vec<SecretMount> {
    let (uid, gid) = owner_of(&image.user);
    let label = |name: &str| format!("com.flukedeploy.{name}");
    let files = settings
        .delivered()
        .filter_map(|one| Some((one.name, one.value, one.file?)));
    files
        .map(|(name, value, file)| {
            let texts = [app.as_str(), environment.as_str(), name, value];
            let digest = px.parts().store.digest(&texts);
            SecretMount {
                secret: secret_name(&px.config().instance, app, environment, &digest[..24]),
                file: file.name_of(name).to_owned(),
                uid: file.uid.unwrap_or(uid),
                gid: file.gid.unwrap_or(gid),
                value: value.clone(),
                labels: BTreeMap::from([
                    (label("app"), app.to_string()),
                    (label("environment"), environment.to_string()),
                    (label("variable"), name.clone()),
                ]),
            }
        })
        .collect()
}

/// Who reads files in a container of this image, as far as its user is a number. A name means a
/// number that only the image knows.
fn owner_of(user: &str) -> (u32, u32) {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let uid = user.parse().unwrap_or(0);
    // Docker gives a number without a group the group root.
    (uid, group.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::owner_of;

    #[test]
    fn the_images_user_owns_its_files_where_it_is_a_number() {
        assert_eq!(owner_of(""), (0, 0));
        assert_eq!(owner_of("node"), (0, 0));
        assert_eq!(owner_of("1000"), (1000, 0));
        assert_eq!(owner_of("1000:1001"), (1000, 1001));
        assert_eq!(owner_of("65532:nonroot"), (65532, 0));
    }
}
