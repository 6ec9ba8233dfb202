package apply

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/render"
)

// Problems say what is wrong with an outcome that has an error: one for each
// field that the API server names, with the line that the field is written at.
// The object and its set may be nil where they are not known any more.
func Problems(o txn.Outcome, object *render.Object, set *render.Set) []v1alpha1.Problem {
	file, line := v1alpha1.ParseOrigin(o.Change.Origin)
	mistakes := fieldMistakes(o.Err)
	through := ""
	if object != nil && object.Through() != "" {
		through = " (" + object.Origin() + " → " + object.Through() + ")"
	}
	if object == nil || len(mistakes) == 0 {
		return []v1alpha1.Problem{{File: file, Line: line, Object: o.Change.Ref.String(), Message: set.Redact(o.Err.Error()) + through}}
	}
	out := make([]v1alpha1.Problem, len(mistakes))
	for i, m := range mistakes {
		out[i] = v1alpha1.Problem{File: object.File, Line: set.Line(object, m.field), Object: o.Change.Ref.String(), Message: set.Redact(m.message) + through}
	}
	return out
}

// mistake is what the API server says about one field.
type mistake struct{ field, message string }

// named finds fields in the messages of decoders, which give no causes.
var named = regexp.MustCompile(`unknown field "([^"]+)"|duplicate field "([^"]+)"|(\.[^\s:]+): field not declared in schema|Go struct field [^.\s]+\.(\S+) of type`)

func fieldMistakes(err error) []mistake {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return nil
	}
	if d := status.Status().Details; status.Status().Reason == metav1.StatusReasonInvalid && d != nil && len(d.Causes) > 0 {
		var out []mistake
		for _, c := range d.Causes {
			if len(d.Causes) == 1 {
				return []mistake{{c.Field, err.Error()}}
			}
			out = append(out, mistake{c.Field, fmt.Sprintf("%s %q is invalid: %s: %s", d.Kind, d.Name, c.Field, c.Message)})
		}
		return out
	}
	text := err.Error()
	var out []mistake
	found := named.FindAllStringSubmatchIndex(text, -1)
	for _, m := range found {
		message := text
		if len(found) > 1 {
			message = text[:found[0][0]] + text[m[0]:m[1]]
		}
		for i := 2; i < len(m); i += 2 {
			if m[i] >= 0 {
				out = append(out, mistake{strings.TrimPrefix(text[m[i]:m[i+1]], "."), message})
			}
		}
	}
	return out
}
