package queue

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// allowedRune reports whether SQS takes the character in a body or attribute:
// #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF
// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
func allowedRune(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	default:
		return r != 0xFFFE && r != 0xFFFF
	}
}

// allowedText reports whether SQS takes the text as it is. The empty text is
// allowed here, although SQS refuses it as a body or value.
func allowedText(text string) bool {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return false
			}
		}
		if !allowedRune(r) {
			return false
		}
	}
	return true
}

// cleanText replaces what SQS does not take, control characters apart, which
// JSON escapes.
func cleanText(text string) string {
	if allowedText(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == 0xFFFE || r == 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// marshalJSON encodes v without escaping for HTML, which would only cost
// bytes.
func marshalJSON(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
