//! The macros that make a crate a plugin. Exports exist only in wasm, so that natively the same crate is an
//! ordinary library with tests.

/// Makes a plugin of [`Controller`](crate::Controller)s, one for each type, and exports it.
///
/// Defines `pub struct Plugin`, which implements [`Plugin`](trait@crate::Plugin): the contract itself, for tests.
/// The version of the plugin is that of the crate.
///
/// ```ignore
/// senren_plugin::export! { name: "memcached", config: NoConfig, controllers: [Memcached] }
/// ```
///
/// A plugin that asks also says which of its types it can [simulate](crate::Simulation):
///
/// ```ignore
/// senren_plugin::export! {
///     name: "redis", config: Config, controllers: [Redis, RedisCluster], simulations: [RedisCluster]
/// }
/// ```
#[macro_export]
macro_rules! export {
    (name: $name:expr, config: $config:ty, controllers: [$($controller:ty),+ $(,)?] $(,)?) => {
        $crate::__plugin!($name, $config, [$($controller),+]);
        $crate::export_plugin!(Plugin);
    };
    (
        name: $name:expr, config: $config:ty, controllers: [$($controller:ty),+ $(,)?],
        simulations: [$($simulated:ty),+ $(,)?] $(,)?
    ) => {
        $crate::__plugin!($name, $config, [$($controller),+]);

        impl $crate::wit::SimulationGuest for Plugin {
            fn exec(call: $crate::wit::ExecCall) -> $crate::wit::ExecResult {
                $(if call.resource_type == <$simulated as $crate::Controller>::TYPE {
                    return $crate::private::exec::<$simulated>(&call);
                })+
                $crate::private::not_simulated(call)
            }
        }

        $crate::export_plugin!(Plugin, simulation);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($name:expr, $config:ty, [$($controller:ty),+]) => {
        /// This plugin: the contract over its controllers.
        pub struct Plugin;

        impl $crate::Plugin for Plugin {
            fn describe() -> $crate::wit::Descriptor {
                let mut requires = Vec::new();
                $($crate::private::also_requires::<$controller>(&mut requires);)+
                $crate::private::descriptor(
                    $name,
                    env!("CARGO_PKG_VERSION"),
                    <$config as $crate::Settings>::schema(),
                    vec![$($crate::Description::of::<$controller>()),+],
                    requires,
                )
            }

            fn admit(resource_type: String, spec: String) -> Result<String, Vec<$crate::wit::Violation>> {
                $(if resource_type == <$controller as $crate::Controller>::TYPE {
                    return $crate::private::admit::<$controller>(&spec);
                })+
                Err(vec![$crate::private::unknown_type(&resource_type).into()])
            }

            fn diff(
                resource_type: String,
                current: Option<String>,
                desired: Option<String>,
            ) -> Result<$crate::wit::Change, $crate::wit::Fault> {
                $(if resource_type == <$controller as $crate::Controller>::TYPE {
                    return $crate::private::diff::<$controller>(current.as_deref(), desired.as_deref());
                })+
                Err($crate::private::unknown_type(&resource_type))
            }

            fn reconcile(input: $crate::wit::Input) -> Result<$crate::wit::Outcome, $crate::wit::Fault> {
                $(if input.resource_type == <$controller as $crate::Controller>::TYPE {
                    return $crate::private::reconcile::<$controller>(&input);
                })+
                Err($crate::private::unknown_type(&input.resource_type))
            }
        }
    };
}

/// Exports a type that implements the contract, [`Plugin`](trait@crate::Plugin), by itself; with `, simulation` after
/// it also [`SimulationGuest`](crate::wit::SimulationGuest).
///
/// In wasm it also sets the global allocator: one that fits calls which start in a fresh instance.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident) => {
        $crate::__allocator!();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::exports::senren::plugin::controller;
            controller::__export_senren_plugin_controller_1_0_0_cabi!($plugin with_types_in controller);
            // Which world this is of is said in a section that nothing else refers to.
            #[used]
            static WORLD: fn() = $crate::plain::__link_custom_section_describing_imports;
        };
    };
    ($plugin:ident, simulation) => {
        $crate::__allocator!();

        #[cfg(target_arch = "wasm32")]
        $crate::bindings::export_simulated_bindings!($plugin with_types_in $crate::bindings);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __allocator {
    () => {
        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static ALLOCATOR: $crate::private::Allocator = $crate::private::Allocator::new();
    };
}
