package emulator

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on messages, from the SQS developer guide, "Amazon SQS message quotas".
const (
	maxAttributes        = 10
	maxAttributeNameLen  = 256
	maxAttributeTypeLen  = 256
	traceHeaderAttribute = "AWSTraceHeader"
)

// attribute is a message attribute. value holds the bytes of a Binary one, and text otherwise.
type attribute struct {
	dataType string
	value    string
}

func (a attribute) binary() bool { return a.baseType() == "Binary" }

// baseType returns the type without its custom label: "Number" of "Number.int".
func (a attribute) baseType() string {
	base, _, _ := strings.Cut(a.dataType, ".")
	return base
}

var attributeName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// attributeFault tells what is wrong with an attribute's name, type or value, in the words of SQS, or
// returns "".
func attributeFault(name string, a attribute) string {
	switch {
	case name == "":
		return "The message attribute name must not be empty."
	case len(name) > maxAttributeNameLen:
		return "Length of message attribute name must be less than 256 bytes."
	case !attributeName.MatchString(name):
		return "The message attribute name '" + clip(name) + "' is invalid. Attribute names can contain A-Z, a-z, 0-9, underscore (_), hyphen (-), and period (.), must not start or end with a period, and must not have periods in succession."
	case reservedName(name):
		return "You cannot use message attribute names beginning with 'AWS.' or 'Amazon.'."
	case a.dataType == "":
		return "The message attribute '" + name + "' must contain a non-empty message attribute type."
	case len(a.dataType) > maxAttributeTypeLen:
		return "Length of message attribute type must be less than 256 bytes."
	}
	switch a.baseType() {
	case "String", "Number", "Binary":
	default:
		return "The message attribute '" + name + "' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
	}
	switch {
	case a.value == "":
		return "The message attribute '" + name + "' must contain a non-empty message attribute value for message attribute type '" + a.dataType + "'."
	case !a.binary() && !validText(a.value):
		return "The message attribute '" + name + "' contains characters that are not allowed in text."
	case a.baseType() == "Number" && !validNumber(a.value):
		return "Can't cast the value of message (user) attribute '" + name + "' to a number."
	}
	return ""
}

func reservedName(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.")
}

// attributesFault checks all attributes of a message, in the order of their names so that the answer
// does not depend on a map's.
func attributesFault(attrs map[string]attribute) string {
	if len(attrs) > maxAttributes {
		return "Number of message attributes exceeds the allowed maximum of 10."
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if fault := attributeFault(name, attrs[name]); fault != "" {
			return fault
		}
	}
	return ""
}

// attributesSize is what attributes count for in the size of a message: names, types and values.
func attributesSize(attrs map[string]attribute) int {
	size := 0
	for name, a := range attrs {
		size += len(name) + len(a.dataType) + len(a.value)
	}
	return size
}

// validText reports whether s holds only the characters that SQS allows:
// #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.
func validText(s string) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || r == 0xFFFE || r == 0xFFFF {
			return false
		}
		i += size
	}
	return true
}

var numberPattern = regexp.MustCompile(`^[+-]?([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,4}))?$`)

// validNumber reports whether s is a number that an attribute may hold: at most 38 significant digits,
// from 10^-128 to 10^126 (SQS developer guide, "Message attribute data types").
func validNumber(s string) bool {
	parts := numberPattern.FindStringSubmatch(s)
	if parts == nil || parts[1] == "" && parts[2] == "" {
		return false
	}
	exponent := 0
	if parts[3] != "" {
		exponent, _ = strconv.Atoi(parts[3]) // at most four digits
	}
	digits := parts[1] + parts[2]
	significant := strings.TrimLeft(digits, "0")
	leading := len(parts[1]) - (len(digits) - len(significant)) // of the first digit, before the point
	significant = strings.TrimRight(significant, "0")
	if significant == "" {
		return true // zero
	}
	magnitude := exponent + leading - 1 // the number is d.ddd times ten to this
	if significant == "1" && magnitude == 126 {
		return true
	}
	return len(significant) <= 38 && magnitude >= -128 && magnitude < 126
}
