from isaaclab_flows.schemas.nvidia_smi import query, rows


def test_rows_are_read_cell_by_cell_and_what_is_cut_short_is_none() -> None:
    assert query(["index", "name"])[1] == "--query-gpu=index,name"
    assert rows("0, NVIDIA L4\n1, NVIDIA L4\n\nboom\n", fields=2) == [["0", "NVIDIA L4"], ["1", "NVIDIA L4"]]
    assert rows("") == []
