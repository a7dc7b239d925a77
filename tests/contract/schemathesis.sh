#!/usr/bin/env bash
# Calls every route of a running engine with what its description allows and does not; fails where an answer is none that the
# description promises. SCHEMATHESIS names the program, SECONDS bounds the run.
set -euo pipefail
url=$1 token=$2 seconds=${3:-20} folder=${4:-$(mktemp -d)}
cd "$folder"
# Left out: what a partner's plugin answers as it likes, components (no tool makes one up), tokens that the run stands on, and
# files of the documentation.
exec timeout "$((seconds + 60))" "${SCHEMATHESIS:-schemathesis}" run "$url/openapi.json" \
    --header "Authorization: Bearer $token" \
    --exclude-path '/v1/inbound/{name}' \
    --exclude-path '/docs/{file}' \
    --exclude-operation-id plugin_push \
    --exclude-operation-id token_revoke_self \
    --exclude-operation-id token_revoke \
    --exclude-operation-id token_regenerate \
    --phases examples,coverage,fuzzing \
    --mode all \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method \
    --max-time "$seconds" --seed 7 --workers 1 --max-failures 30 --no-color
