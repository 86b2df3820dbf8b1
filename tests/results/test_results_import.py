import subprocess
import sys

import plora.results


def test_results_need_no_torch() -> None:
    program = (
        "import sys, plora.results\n"
        "heavy = {'torch', 'transformers', 'datasets', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_is_what_is_public() -> None:
    public = {
        name
        for name, value in vars(plora.results).items()
        if not name.startswith("_") and not isinstance(value, type(sys))
    }
    assert set(plora.results.__all__) == public
    assert len(plora.results.__all__) == len(set(plora.results.__all__))
