//go:build race

package store

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestWritingToASharedObjectIsCaught(t *testing.T) {
	t.Parallel()
	o := &corev1.ConfigMap{Data: map[string]string{"a": "1"}}
	e := &Entry{Object: o}
	e.seal()
	e.verify()
	o.Data["a"] = "2"
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "was written to") {
			t.Errorf("verify said %q", text)
		}
	}()
	e.verify()
}
