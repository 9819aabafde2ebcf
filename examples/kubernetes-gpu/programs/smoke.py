"""What is there?"""

import importlib.util
import platform
import shutil
import subprocess

print("Python", platform.python_version(), "with" if importlib.util.find_spec("torch") else "without", "PyTorch")
if shutil.which("nvidia-smi"):
    subprocess.run(["nvidia-smi", "-L"], check=True)
