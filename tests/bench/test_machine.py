from segprune.bench.machine import described, load, machine


def test_a_machine_is_told_without_its_name() -> None:
    about = machine()
    assert {"processor", "cores", "threads", "memory_gb", "python", "torch", "device"} <= {*about}
    assert about["cores"] >= 1
    line = described(about)
    assert line.startswith(f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, ")
    assert load().endswith(f" on {about['cores']} cores")
