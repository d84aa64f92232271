import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["contract", "mlflow_tracker", "silent"])
def test_importing_the_room_does_not_import_mlflow(module):
    code = f"import sys, segprune.tracking.{module}; print(sorted({{'mlflow', 'matplotlib'}} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
