import pytest

torch = pytest.importorskip("torch")

from isaaclab_flows.container.simulator.rounds import play_round  # noqa: E402


class ScriptedEnv:
    """Resets itself like Isaac Lab's: environment i ends its k-th episode after ``lengths[i][k]`` steps."""

    def __init__(self, lengths, *, falls=(), reports="mean", keeps_sums=False, spreads=False):
        self.num_envs, self.device = len(lengths), "cpu"
        self.unwrapped = self
        self.common_step_counter = 99
        self.extras = {"log": {"Metrics/success_rate": 0.25}}
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.reset_time_outs = torch.zeros(self.num_envs, dtype=torch.bool)
        self.seeds, self.steps = [], 0
        self._lengths, self._falls = lengths, set(falls)
        self._episode = [0] * self.num_envs
        self._reports, self._spreads = reports, spreads
        if keeps_sums:
            self._episode_sums = {"alive": torch.zeros(self.num_envs)}

    def reset(self, seed):
        self.seeds.append(seed)
        self._episode = [0] * self.num_envs
        self._reset_idx(torch.arange(self.num_envs, dtype=torch.int32))
        if self._spreads:
            self.episode_length_buf[:] = 3
        return {"policy": torch.zeros(self.num_envs, 1)}, self.extras

    def step(self, actions):
        self.steps += 1
        self.episode_length_buf += 1
        rewards = actions[:, 0] * torch.arange(1, self.num_envs + 1)
        if hasattr(self, "_episode_sums"):
            self._episode_sums["alive"] += rewards
        ends = torch.tensor(
            [int(self.episode_length_buf[i]) >= self._lengths[i][self._episode[i]] for i in range(self.num_envs)]
        )
        fell = torch.tensor([i in self._falls for i in range(self.num_envs)])
        terminated = ends & fell
        self.reset_time_outs[:] = ends & ~fell
        if ends.any():
            self._reset_idx(ends.nonzero().flatten().int())
        return {"policy": torch.zeros(self.num_envs, 1)}, rewards, terminated, self.reset_time_outs, self.extras

    def _reset_idx(self, environments):
        survived = self.reset_time_outs[environments].float()
        if self._reports == "mean":
            self.extras["log"]["Metrics/success_rate"] = survived.mean()
        elif self._reports == "number":
            self.extras["log"]["Metrics/success_rate"] = float(survived.mean())
        for values in getattr(self, "_episode_sums", {}).values():
            values[environments] = 0.0
        for i in environments.tolist():
            self.episode_length_buf[i] = 0
            self._episode[i] = min(self._episode[i] + 1, len(self._lengths[i]) - 1)


class Ones:
    def __init__(self):
        self.resets = []

    def act(self, observations):
        return torch.ones_like(observations["policy"])

    def reset(self, dones=None):
        self.resets.append(None if dones is None else dones.tolist())


def play(env, *, steps=20, after_step=lambda step: False, policy=None):
    return play_round(env, policy or Ones(), seed=5, steps=steps, after_step=after_step)


def test_only_the_first_episode_of_each_environment_counts_and_the_round_ends_with_the_last():
    # The first number of each is what a reset skips to; environment 0 would fit three episodes into the round.
    env = ScriptedEnv([(0, 2, 2, 2), (0, 5, 9)], falls=[0])
    episodes, steps = play(env)
    assert [(e.environment, e.total, e.length, e.outcome) for e in episodes] == [
        (0, 2.0, 2, "terminated"),
        (1, 10.0, 5, "timed_out"),
    ]
    assert (steps, env.steps, env.seeds) == (5, 5, [5])


def test_a_film_that_wants_more_gets_the_whole_round_and_the_same_episodes():
    short, _ = play(ScriptedEnv([(0, 2, 2), (0, 5, 5)]))
    long, steps = play(ScriptedEnv([(0, 2, 2), (0, 5, 5)]), steps=12, after_step=lambda step: True)
    assert long == short
    assert steps == 12


@pytest.mark.parametrize("reports", ["mean", "number"])
def test_success_is_each_environments_own_where_episodes_end_apart(reports):
    episodes, _ = play(ScriptedEnv([(0, 2), (0, 3), (0, 4)], falls=[1], reports=reports))
    assert [e.success for e in episodes] == [1.0, 0.0, 1.0]


def test_success_is_each_environments_own_even_where_the_task_logs_one_mean_of_several():
    episodes, _ = play(ScriptedEnv([(0, 3), (0, 3), (0, 3)], falls=[1]))
    assert [e.success for e in episodes] == [1.0, 0.0, 1.0]


def test_a_mean_that_cannot_be_taken_apart_stands_for_each_so_that_the_rate_stays_right():
    episodes, _ = play(ScriptedEnv([(0, 3), (0, 3)], falls=[1], reports="number"))
    assert [e.success for e in episodes] == [0.5, 0.5]


def test_such_a_mean_is_not_used_when_uncounted_episodes_are_in_it():
    env = ScriptedEnv([(0, 2, 2), (0, 4, 4)], falls=[1], reports="number")
    episodes, _ = play(env)
    assert [e.success for e in episodes] == [1.0, None]


def test_a_task_that_reports_no_success_has_none_not_an_old_one():
    episodes, _ = play(ScriptedEnv([(0, 2), (0, 3)], reports="none"))
    assert [e.success for e in episodes] == [None, None]


def test_an_episode_that_is_cut_is_marked_and_judged_as_if_its_time_had_run_out():
    episodes, steps = play(ScriptedEnv([(0, 2, 9), (0, 50)], falls=[0], keeps_sums=True), steps=6)
    assert [(e.outcome, e.length, e.success) for e in episodes] == [("terminated", 2, 0.0), ("truncated", 6, 1.0)]
    assert episodes[1].terms == {"alive": 12.0}
    assert steps == 6


def test_reward_terms_are_read_before_the_task_clears_them():
    episodes, _ = play(ScriptedEnv([(0, 2, 3), (0, 4)], keeps_sums=True))
    assert [e.terms for e in episodes] == [{"alive": 2.0}, {"alive": 8.0}]


def test_episodes_begin_at_their_beginning_whatever_the_task_spreads_and_counts():
    env = ScriptedEnv([(0, 5), (0, 5)], spreads=True)
    episodes, _ = play(env)
    assert [e.length for e in episodes] == [5, 5]
    assert env.common_step_counter == 0


def test_a_policy_with_memory_forgets_at_the_start_and_where_an_episode_ended():
    policy = Ones()
    play(ScriptedEnv([(0, 2, 9), (0, 3)]), policy=policy)
    assert policy.resets == [None, [False, False], [True, False], [False, True]]


def test_the_environment_is_left_as_it_was():
    env = ScriptedEnv([(0, 2)])
    play(env)
    assert "_reset_idx" not in vars(env)
