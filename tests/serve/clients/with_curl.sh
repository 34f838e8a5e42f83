#!/bin/sh
# Ask a question and see the reply come, event by event: sh with_curl.sh [QUESTION]
# OPENAI_BASE_URL is the server's address with /v1, OPENAI_API_KEY its key. No quotes in the question.
curl --silent --show-error --fail-with-body --no-buffer "$OPENAI_BASE_URL/chat/completions" \
    --header "Authorization: Bearer $OPENAI_API_KEY" \
    --header "Content-Type: application/json" \
    --data @- <<END
{
  "messages": [{"role": "user", "content": "${1:-What is the capital of Mongolia?}"}],
  "stream": true
}
END
