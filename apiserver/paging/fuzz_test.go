package paging_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/paging"
)

// FuzzContinue checks that any token is refused or names a place between the
// kind's own objects, and that the server's own tokens come back as they were.
func FuzzContinue(f *testing.F) {
	k := &kind.Kind{GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Plural: "configmaps", Namespaced: true}
	f.Add(paging.Encode(k, paging.Place{Revision: 7, After: k.Ref("a", "b"), Begun: time.Unix(1, 0)}))
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9zZWNyZXRzL2EifQ")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := paging.Decode(k, token)
		if err != nil {
			return
		}
		if after := p.After; after.Resource != k.Resource() || strings.ContainsAny(after.Namespace+after.Name, "/\x00") || after.Namespace == ".." || after.Name == ".." {
			t.Errorf("%q names %v", token, after)
		}
		again, err := paging.Decode(k, paging.Encode(k, *p))
		if err != nil || again.Revision != p.Revision || again.After != p.After || !again.Begun.Equal(p.Begun) {
			t.Errorf("%+v came back as %+v: %v", p, again, err)
		}
	})
}
