//! What the search asks those that know devices.

/// What finds the least hops under a limit.
pub(super) trait Solver {
    /// The least seconds of hops in plans whose stages take no more than `limit` seconds each; `None` if there is no such plan.
    fn hops(&mut self, limit: f64) -> Option<f64>;

    /// A plan with these hops: devices in the order of their stages.
    fn devices(&mut self, limit: f64) -> Vec<usize>;
}
