package v1alpha1

import (
	"strconv"
	"strings"
)

// Origin writes a place in the repository as "file:line", as "file" when the
// line is unknown, and as nothing without a file.
func Origin(file string, line int32) string {
	if file == "" || line <= 0 {
		return file
	}
	return file + ":" + strconv.Itoa(int(line))
}

// ParseOrigin is the reverse of Origin.
func ParseOrigin(origin string) (file string, line int32) {
	at := strings.LastIndexByte(origin, ':')
	if at < 0 {
		return origin, 0
	}
	n, err := strconv.ParseInt(origin[at+1:], 10, 32)
	if err != nil || n <= 0 {
		return origin, 0
	}
	return origin[:at], int32(n)
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
