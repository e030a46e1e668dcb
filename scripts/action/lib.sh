# shellcheck shell=bash disable=SC2034  # CONFIGURED is for those who source this
# What the steps of the action share. Sourced, never run.
set -euo pipefail

readonly CONFIGURED='(configuration)' # default of inputs for which "not given" and "empty" are two things

# fail EXIT OUTCOME TEXT: ends the step; the workflow sees why, in an annotation, in the outputs and in the job's summary.
fail() {
    local text=${3//'%'/%25} indented=${3//$'\n'/$'\n'    }
    text=${text//$'\r'/%0D}
    printf '::error title=ffe-deploy::%s\n' "${text//$'\n'/%0A}"
    if [[ -n ${GITHUB_OUTPUT:-} ]]; then printf 'status=failure\noutcome=%s\n' "$2" >>"$GITHUB_OUTPUT"; fi
    # Indented text is code: nothing in it is Markdown.
    if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
        printf '## ❌ ffe-deploy: %s\n\n    %s\n' "$2" "${indented//$'\r'/}" >>"$GITHUB_STEP_SUMMARY"
    fi
    exit "$1"
}

say() { printf 'ffe-deploy: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
