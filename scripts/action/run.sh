#!/bin/bash
# Last step of the action: hands the inputs to the program, and becomes it, so that a signal reaches it.
#
# Inputs come as FFE_INPUT_*; each that is given becomes the variable FFE_DEPLOY_* that stands for the flag. None is a word of
# a command line but the command, the environment and the lines of `args`: the list of processes shows those to everybody.
# shellcheck source=scripts/action/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

# pass NAME...: hands over those that are not empty.
pass() {
    local name variable
    for name in "$@"; do
        variable=FFE_INPUT_$name
        if [[ -n ${!variable:-} ]]; then export "FFE_DEPLOY_$name=${!variable}"; fi
    done
}

# pass_if_given NAME...: hands over those that the workflow writes, also when they are empty: a secret that is not set.
pass_if_given() {
    local name variable
    for name in "$@"; do
        variable=FFE_INPUT_$name
        if [[ ${!variable-$CONFIGURED} != "$CONFIGURED" ]]; then export "FFE_DEPLOY_$name=${!variable}"; fi
    done
}

# pass_switches NAME...: hands over those that are true.
pass_switches() {
    local name variable word
    for name in "$@"; do
        variable=FFE_INPUT_$name
        word=${name,,}
        case ${!variable:-false} in
            true | True | TRUE) export "FFE_DEPLOY_$name=true" ;;
            false | False | FALSE) ;;
            *) fail 2 invalid "the input \`${word//_/-}\` is true or false, not \`${!variable}\`; nothing was touched" ;;
        esac
    done
}

pass_adopt() {
    case ${FFE_INPUT_ADOPT:-false} in
        false) ;;
        true) export FFE_DEPLOY_ADOPT=record ;;
        *) export FFE_DEPLOY_ADOPT=$FFE_INPUT_ADOPT ;;
    esac
}

command=${FFE_INPUT_COMMAND:-deploy}
[[ $command =~ ^[a-z]+(-[a-z]+)*( [a-z]+)?$ ]] ||
    fail 2 invalid "the input \`command\` is a verb such as deploy, rollback, validate or status, not \`$command\`; nothing was touched"
[[ -z ${FFE_INPUT_TO:-} || $command = rollback ]] ||
    fail 2 invalid "the input \`to\` is for \`command: rollback\`, and this is \`$command\`; nothing was touched"
environment=${FFE_INPUT_ENVIRONMENT:-}
[[ $environment =~ ^([A-Za-z0-9][A-Za-z0-9._-]*)?$ ]] ||
    fail 2 invalid "the input \`environment\` is a name such as staging or production, not \`$environment\`; nothing was touched"

pass APP VERSION USER PORT SSH_KEY_PASSPHRASE HOST_KEY ENV_FILE PROJECT_ROOT CONFIG_DIR PROFILE TO REASON DEPLOYMENT_ID
pass WAIT_FOR_LEASE SARIF
pass EVENT_LOG LOG_DIR LOG_LEVEL
pass_if_given HOST SSH_KEY
pass_switches YES PLAN NO_CACHE SKIP_TESTS SKIP_BACKUP ALLOW_OLDER ACCEPT_DRIFT
pass_adopt
[[ -z ${FFE_DEPLOY_PLAN:-} || $command = deploy ]] ||
    fail 2 invalid "the input \`plan\` is for \`command: deploy\`, and this is \`$command\`; nothing was touched"
if [[ -n ${FFE_INPUT_SLACK_WEBHOOK:-} ]]; then export SLACK_WEBHOOK=$FFE_INPUT_SLACK_WEBHOOK; fi
if [[ -n ${FFE_INPUT_LEDGER_URL:-} ]]; then export FFE_LEDGER_URL=$FFE_INPUT_LEDGER_URL; fi
if [[ -n ${FFE_INPUT_LEDGER_TOKEN:-} ]]; then export FFE_LEDGER_TOKEN=$FFE_INPUT_LEDGER_TOKEN; fi
if [[ -n ${FFE_INPUT_GITHUB_TOKEN:-} ]]; then export GITHUB_TOKEN=$FFE_INPUT_GITHUB_TOKEN; fi

read -ra arguments <<<"$command"
# `list` shows all environments.
if [[ -n $environment && $command != list ]]; then arguments+=("$environment"); fi
while IFS= read -r line; do
    line=${line%$'\r'}
    if [[ -n $line ]]; then arguments+=("$line"); fi
done <<<"${FFE_INPUT_ARGS:-}"

binary=${FFE_BINARY:?the step before names the program}
# Nothing that the program starts sees an input twice.
for variable in "${!FFE_INPUT_@}" FFE_BINARY; do unset "$variable"; done
if [[ -n ${FFE_DEPLOY_PLAN:-} ]]; then
    # Changes are what a plan is for: they do not fail the step. Nothing is touched, so a cancel may end all of it.
    code=0
    "$binary" "${arguments[@]}" || code=$?
    if ((code == 10)); then exit 0; fi
    exit "$code"
fi
exec "$binary" "${arguments[@]}"
