# Make a virtual environment and install edgeproxy into it: sh tools/install.sh FOLDER EXTRAS
# Says what is missing on this machine before a long build would find out.
set -eu

folder=$1
extras=$2
python=${PYTHON:-python3}

fail() {
    echo "$*" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "edgeproxy needs Python 3.10 or newer, and $python was not found." \
        "Install it, or name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "edgeproxy needs Python 3.10 or newer, and $python is older or does not start." \
        "Install a newer one and name it: make PYTHON=/path/to/python3"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"

[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
in_folder() { "$folder/bin/python" "$@"; }
install() { in_folder -m pip install --disable-pip-version-check --progress-bar off "$@"; }

compiles() {
    source=$folder/compiles.$1
    shift
    echo 'int main(void) { return 0; }' >"$source"
    "$@" -c "$source" -o "$source.o" 2>/dev/null
}

# Older ones cannot install in place, or say nothing during a long build.
install --quiet --upgrade pip

if ! in_folder -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llama_cpp") is None)'; then
    if compiles c ${CC:-cc} && compiles cpp ${CXX:-c++}; then
        echo "llama.cpp is compiled on this machine: about five minutes on two cores, once."
        echo "(It takes seconds when pip still has it from an earlier time.)"
    elif PIP_ONLY_BINARY=llama-cpp-python install --quiet --dry-run . 2>/dev/null; then
        export PIP_ONLY_BINARY=llama-cpp-python
    else
        fail "llama.cpp must be compiled on this machine, and there is no working C and C++ compiler" \
            "(tried ${CC:-cc} and ${CXX:-c++}). On Debian and Ubuntu: apt install build-essential;" \
            "on macOS: xcode-select --install. README.md tells how to do without a compiler."
    fi
fi

case $extras in
*dev*)
    if [ "$(uname -s)" = Linux ] && [ -z "${PIP_EXTRA_INDEX_URL:-}" ] &&
        ! in_folder -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
        echo "The tests of tuning need PyTorch, of which pip may take a build with libraries for GPUs,"
        echo "several GB. That for processors is 200 MB: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
    fi
    ;;
esac

echo "Installing edgeproxy[$extras] into $folder ..."
install --editable ".[$extras]"
