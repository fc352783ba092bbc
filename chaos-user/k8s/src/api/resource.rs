//! The frame that all our custom resources share.

/// Declares a custom resource: its struct, and what kube needs to know of it. The schema is ours ([`super::crd`]), because it is
/// that of the command line.
macro_rules! resource {
    (
        $(#[$meta:meta])*
        $name:ident, kind $kind:literal, plural $plural:literal, scope $scope:ty, spec $spec:ty, status $status:ty
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Always chaos-ebpf.dev/v1alpha1.
            pub api_version: String,
            /// Always the kind's name.
            pub kind: String,
            /// Name, namespace, labels, owner.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is asked.
            pub spec: $spec,
            /// What is so.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
            /// Why the spec, or where the status says that it stands, could not be read; then only what is harmless of it is here.
            #[serde(skip)]
            pub unread: Option<super::unread::Unread>,
        }

        /// Fails for no object: one that cannot be read is not to hide the others of its list.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let frame = super::unread::Frame::<$spec, $status>::deserialize(from)?;
                let super::unread::Frame { metadata, spec, status, unread } = frame;
                Ok(Self { api_version: super::resource::api_version(), kind: kind(), metadata, spec, status, unread })
            }
        }

        fn kind() -> String {
            $kind.to_owned()
        }

        impl $name {
            /// One with this name, not in the cluster yet.
            #[must_use]
            pub fn new(name: &str, spec: $spec) -> Self {
                Self {
                    api_version: super::resource::api_version(),
                    kind: kind(),
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                        name: Some(name.to_owned()),
                        ..Default::default()
                    },
                    spec,
                    status: None,
                    unread: None,
                }
            }
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                super::resource::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                super::resource::VERSION.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use resource;

/// The API group of all our resources.
pub const GROUP: &str = "chaos-ebpf.dev";
/// Its only version so far.
pub const VERSION: &str = "v1alpha1";

pub(super) fn api_version() -> String {
    chaos_spec::API_VERSION.to_owned()
}
