"""The 26 faults of the Lambda chain that this project replaces, each with the tests that would catch it here."""

from __future__ import annotations

STARTING = "infrastructure/bridge/test_starting.py"
ANSWERING = "infrastructure/bridge/test_answering.py"
EVENT = "infrastructure/bridge/test_event.py"
VAMS = "tasks/vams/test_callback.py"
LIMITS = "tasks/vams/test_limits.py"
END_TO_END = "system/test_vams.py::test_a_training_and_then_the_evaluation_of_its_checkpoint_come_back_to_vams"
MATRIX = "system/test_vams_faults.py::test_exactly_one_answer_at_most_one_live_job_and_no_token_anywhere"
LOST = "system/test_vams_lost.py"

FAULTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "a bad request or a failure to start returns 400 or 500, so VAMS hangs",
        (
            f"{STARTING}::test_a_malformed_event_with_a_token_is_told_to_vams_and_raised",
            f"{STARTING}::test_a_server_that_stays_down_raises_so_that_vams_retries",
            f"{STARTING}::test_an_unknown_deployment_is_told_to_vams_and_raised",
            f"{EVENT}::test_any_event_is_either_a_request_or_refused",
        ),
    ),
    2: (
        "a failure before the job runs is not reported",
        (f"{LOST}::test_a_run_cancelled_in_prefect_answers_that_it_was_cancelled_and_ends_the_job", MATRIX),
    ),
    3: (
        "a failed training exits without a callback",
        (f"{VAMS}::test_failure_is_answered_with_one_sentence_that_says_what_where_and_what_to_do", MATRIX),
    ),
    4: (
        "task and state machine time out together, bypassing the error handler",
        (
            "tasks/simulator/test_supervise.py::test_a_time_limit_ends_the_run",
            f"{VAMS}::test_an_expired_token_is_noticed_logged_without_it_recorded_and_ends_the_job",
        ),
    ),
    5: (
        "heartbeats start only once the container runs",
        (f"{VAMS}::test_heartbeats_go_out_until_the_block_ends", END_TO_END),
    ),
    6: (
        "nothing ends a timed-out job, and its retry starts a second one into the same paths",
        (
            "tasks/job/test_lease.py::test_a_second_attempt_waits_and_then_says_who_works_there",
            f"{LOST}::test_a_killed_pipeline_is_noticed_its_job_ended_vams_told_and_the_retry_goes_on",
            MATRIX,
        ),
    ),
    7: (
        "callback errors are swallowed",
        (f"{VAMS}::test_a_faulty_answer_call_ends_with_exactly_one_answer", MATRIX),
    ),
    8: (
        "a random job name: each delivery is a full GPU run",
        (
            f"{STARTING}::test_a_redelivery_finds_the_same_flow_run",
            f"{STARTING}::test_concurrent_deliveries_converge_on_one_run_and_the_newest_token",
            "../worker/tests/test_submission.py::test_a_live_job_of_that_name_is_adopted",
        ),
    ),
    9: (
        "the token is logged and uploaded with the config",
        (
            f"{STARTING}::test_only_the_request_document_holds_the_token_and_it_is_not_public",
            f"{STARTING}::test_logs_hold_neither_token_nor_claims",
            f"{VAMS}::test_no_object_but_the_request_document_holds_the_token",
            END_TO_END,
            MATRIX,
        ),
    ),
    10: (
        "unreadable or invalid configs train the defaults",
        (
            "schemas/test_config.py::test_what_is_no_json_object_is_an_error",
            "schemas/test_config.py::test_no_json_gives_anything_but_a_config_error",
        ),
    ),
    11: (
        "model_999 beats model_1500; only the first page is listed; a selected .pt is ignored",
        (
            "tasks/request/test_resolve.py::test_without_a_path_the_highest_number_counts_not_the_alphabet",
            "tasks/storage/test_base.py::test_a_listing_has_all_pages",
            "tasks/request/test_resolve.py::test_a_checkpoint_as_the_input_is_the_one_that_is_evaluated",
        ),
    ),
    12: (
        "a config at the asset's root resolves relative paths to the bucket's root",
        ("tasks/request/test_resolve.py::test_a_config_at_the_root_resolves_against_the_root",),
    ),
    13: (
        "an unknown library means rsl_rl; types and ranges are unchecked; a training config runs in evaluation",
        (
            "schemas/test_config.py::test_a_wrong_value_names_key_value_and_what_is_allowed",
            "schemas/test_config.py::test_a_config_of_the_other_workflow_is_refused",
        ),
    ),
    14: (
        "documented keys do nothing: resumeCheckpoint, mode play, customEnvironmentS3Uri, recordVideo",
        (
            "schemas/test_config.py::test_play_means_evaluate_and_policy_path_means_policy_s3_uri",
            "schemas/test_config.py::test_a_custom_environment_is_accepted_at_both_places",
            "container/simulator/test_training_checkpoints.py::test_a_training_goes_on_after_what_the_checkpoint_has_behind_it",
            "schemas/test_forms.py::test_a_film_left_out_is_not_recorded",
        ),
    ),
    15: (
        "custom environments never install and would not be imported",
        ("system/test_custom_environment.py::test_the_example_trains_in_every_format",),
    ),
    16: (
        "multi-node jobs are rejected",
        (
            "../worker/tests/test_definitions.py::test_the_main_node_runs_the_flow_and_the_others_join",
            "../worker/tests/test_definitions.py::test_aws_accepts_what_the_form_makes",
        ),
    ),
    17: (
        "torchrun without --distributed, one process a node, its port closed, every rank reports success",
        (
            "schemas/test_nodes.py::test_every_node_starts_the_same_torchrun_at_the_main_nodes_address",
            "container/simulator/test_runner.py::test_of_distributed_processes_the_first_writes_the_result",
        ),
    ),
    18: (
        "one GPU asked of a four-GPU machine; 32 GiB asked of a 32 GiB machine; no retries",
        (
            "schemas/test_instances.py::test_a_four_gpu_machine_gives_four_gpus",
            "schemas/test_instances.py::test_32_gib_never_fit_a_32_gib_machine",
            "../worker/tests/test_job_run.py::test_a_lost_machine_is_followed_by_a_new_job_with_a_name_of_its_own",
        ),
    ),
    19: (
        "EFS is mounted and unused: no resume, no upload of checkpoints when training fails",
        (
            "system/test_training.py::test_killed_and_told_to_stop_a_training_still_reaches_its_total",
            "container/start/test_entry_point.py::test_jobs_and_caches_go_to_the_shared_file_system_where_it_is_mounted",
        ),
    ),
    20: (
        "only model_*.pt is uploaded; an empty result counts as success",
        (
            "tasks/job/test_checkpoints.py::test_number_and_library_are_read_off_the_name",
            "tasks/simulator/test_supervise.py::test_each_death_is_its_own_error",
            END_TO_END,
        ),
    ),
    21: (
        "uploads overwrite each other, their failures are only printed, metrics lack all but one event folder",
        (
            "tasks/storage/test_base.py::test_there_is_one_layer_of_tries",
            "tasks/storage/test_base.py::test_parallel_copies_name_all_that_failed",
            "tasks/results/test_metrics.py::test_however_often_it_stops_no_iteration_is_missing_or_twice",
            END_TO_END,
        ),
    ),
    22: (
        "evaluation has no metrics and one endless video; other libraries' videos are never found",
        ("container/simulator/test_video.py::test_a_video_plays_in_browsers_and_has_every_frame", END_TO_END),
    ),
    23: (
        "no metadata and no previews are written",
        (
            "tasks/vams/test_metadata.py::test_every_published_checkpoint_is_described",
            "tasks/vams/test_metadata.py::test_an_evaluation_shows_a_frame_at_the_asset_and_at_its_video",
            END_TO_END,
        ),
    ),
    24: (
        "fixed names: one deployment per account and region",
        ("infrastructure/test_names_and_settings.py::test_two_deployments_in_one_account_do_not_collide",),
    ),
    25: (
        "metadata travels in the container command, which has an 8 KB limit",
        (
            f"{STARTING}::test_an_event_starts_one_flow_run_that_is_given_only_the_document_s_uri",
            "../worker/tests/test_definitions.py::test_runs_of_one_configuration_share_a_definition_whatever_their_environment",
        ),
    ),
    26: (
        "no logs of the orchestration; the checkpoints' file system goes with the stack; no tests",
        (
            "../worker/tests/test_logs.py::test_lines_arrive_once_and_in_order_while_the_container_runs",
            "infrastructure/test_data_stack.py::test_the_file_system_is_encrypted_elastic_backed_up_and_kept",
        ),
    ),
}
"""Number to the fault and the tests, as ``file below tests::function``."""
