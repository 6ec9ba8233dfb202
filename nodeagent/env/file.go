package env

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// fromFile takes a variable from a file that the pod itself has written.
func fromFile(ref *corev1.FileKeySelector, source Source) (value string, set bool, err error) {
	optional := ref.Optional != nil && *ref.Optional
	text, err := source.File(ref.VolumeName, ref.Path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	all, err := ParseFile(string(text))
	if err != nil {
		return "", false, fmt.Errorf("file %q of volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	if value, set = all[ref.Key]; !set && !optional {
		return "", false, fmt.Errorf("couldn't find key %s in file %q of volume %q", ref.Key, ref.Path, ref.VolumeName)
	}
	return value, set, nil
}

// ParseFile reads NAME='value' lines (KEP-3721): a value is in single quotes
// and means what it says, over several lines too; lines that are empty or
// begin with # are left out. What a shell would read in another way is an error.
func ParseFile(text string) (map[string]string, error) {
	all := map[string]string{}
	for line := 1; text != ""; {
		text = strings.TrimLeft(text, " \t\r")
		if text == "" {
			break
		}
		if text[0] == '\n' || text[0] == '#' {
			_, text, _ = strings.Cut(text, "\n")
			line++
			continue
		}
		name, rest, ok := strings.Cut(text, "=")
		name = strings.TrimRight(name, " \t")
		if !ok || strings.ContainsAny(name, "\n\x00'") || name == "" {
			return nil, fmt.Errorf("line %d: not of the form NAME='value'", line)
		}
		rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " \t"), "'")
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s is not in single quotes", line, name)
		}
		value, rest, ok := strings.Cut(rest, "'")
		if !ok {
			return nil, fmt.Errorf("line %d: the value of %s does not end", line, name)
		}
		after, next, _ := strings.Cut(rest, "\n")
		if strings.TrimSpace(after) != "" {
			return nil, fmt.Errorf("line %d: something follows the value of %s", line, name)
		}
		all[name] = value
		line += 1 + strings.Count(value, "\n")
		text = next
	}
	return all, nil
}
