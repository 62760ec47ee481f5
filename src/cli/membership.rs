//! The flags that say how a node comes to belong to its cluster, and what its leader changes by
//! itself.

use std::time::Duration;

use crate::node::Settings;

/// Coming and going.
#[derive(clap::Args, Debug)]
pub(super) struct MembershipFlags {
    /// Join the cluster that the others belong to, and never found one: the leader registers this
    /// node, and it is a learner until it is promoted. A node that was removed comes back like this
    #[arg(
        long,
        env = "REMEMBER_JOIN",
        hide_env_values = true,
        conflicts_with = "cluster"
    )]
    join: bool,
    /// How long a voter may be silent until the leader gives its place to a learner, or lets it go,
    /// in milliseconds: at least ten election timeouts. Two of five leave, or one of four; three
    /// never become fewer. Nobody leaves if not said
    #[arg(
        long,
        env = "REMEMBER_DEAD_AFTER_MS",
        value_name = "MS",
        hide_env_values = true
    )]
    dead_after_ms: Option<u64>,
    /// Leave it to a person when a learner that has caught up comes to vote; else two do at once,
    /// so that sizes stay odd, and one takes the place of the disk that its node had before
    #[arg(long, env = "REMEMBER_PROMOTE_BY_HAND", hide_env_values = true)]
    promote_by_hand: bool,
}

impl MembershipFlags {
    /// Says it to a node.
    pub(super) fn apply(&self, settings: &mut Settings) {
        settings.joins = self.join;
        settings.engine.promotes = !self.promote_by_hand;
        settings.engine.dead_after = self.dead_after_ms.map(Duration::from_millis);
    }
}
