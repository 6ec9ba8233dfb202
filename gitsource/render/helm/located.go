package helm

import (
	"regexp"
	"strconv"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
)

var (
	place   = regexp.MustCompile(`([^\s():"<>]+):(\d+)(?::\d+)?`)
	leading = regexp.MustCompile(`^(?:parse|execution) error (?:at|in) \([^)]*\): `)
)

// located turns an error of the engine into one with a place: the innermost
// template that it names, which is where the mistake is, and in the message
// who called it.
func located(c *chart.Chart, err error) error {
	text := err.Error()
	e := &Error{Message: strings.ReplaceAll(oneLine(leading.ReplaceAllString(text, "")), `at <headwayRound>: error calling headwayRound: `, "")}
	for _, m := range place.FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], c.Name()+"/") {
			continue
		}
		line, convErr := strconv.Atoi(m[2])
		if convErr != nil {
			continue
		}
		e.Path, e.Line = inside(c, m[1]), line
	}
	return e
}
