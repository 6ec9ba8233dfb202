package render_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/headway-sh/headway/gitsource/render/subst"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	variables := func(c *config) {
		c.Variables = map[string]subst.Variable{"domain": {Value: "example.org", Tag: "!!str"}, "replicas": {Value: "3", Tag: "!!int"}, "debug": {Value: "true", Tag: "!!bool"}, "number": {Value: "007", Tag: "!!str"}}
	}
	const marked = "# a licence\n# headway: substitute\n" + object
	t.Run("values", func(t *testing.T) {
		t.Parallel()
		set, problems := renderWith(t, map[string]string{
			"a.yaml":               marked + "data:\n  host: web.${domain}\n  n: ${replicas}\n  quoted: '${replicas}'\n  on: ${debug}\n  kept: $${domain} $HOME\n  text: ${number}\n  ${domain}: key\n",
			"b.yaml":               object + "data: {script: 'echo ${HOME} ${domain}'}\n",
			"c/kustomization.yaml": "resources: [x.yaml]\n",
			"c/x.yaml":             marked + "data: {host: '${domain}'}\n",
		}, variables)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		want := "map[${domain}:key host:web.example.org kept:${domain} $HOME n:3 on:true quoted:3 text:007]"
		got := set.Objects[0].Body.Object["data"].(map[string]any)
		if fmt.Sprint(got) != want || got["n"] != int64(3) || got["quoted"] != "3" || got["on"] != true {
			t.Errorf("got  %#v\nwant %s", got, want)
		}
		if got := body(set.Objects[1], "script"); got != "echo ${HOME} ${domain}" {
			t.Errorf("a file that does not ask has %q", got)
		}
		if got := body(set.Objects[2], "host"); got != "example.org" {
			t.Errorf("kustomize has %q", got)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		_, problems := renderWith(t, map[string]string{"a.yaml": marked + "data:\n  host: ${domian}\n  script: |\n    fine\n    echo ${HOME:-x}\n    echo ${USER}\n"}, variables)
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		want := []string{`a.yaml:7: there is no variable "domian": declare it`, `a.yaml:10: "${HOME:-x}" is no reference to a variable; write "$${HOME:-x}"`, `a.yaml:11: there is no variable "USER"`}
		if len(got) != len(want) {
			t.Fatalf("problems %q", got)
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("problem %q, want %q", got[i], want[i])
			}
		}
	})
}
