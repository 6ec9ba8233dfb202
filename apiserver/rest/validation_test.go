package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFieldValidation sends fields that nobody knows and keys that occur twice
// through every verb that takes a body.
func TestFieldValidation(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	_, err := w.client("alice").CoreV1().ConfigMaps("shop").Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	check(t, err)
	object := func(name string) string {
		return `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"` + name + `"},"data":{"k":"1","k":"2"},"spec":1}`
	}
	const merge, strategic, apply = "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"
	unknown, twice := `unknown field "spec"`, `duplicate field "data.k"`
	for _, test := range []struct {
		name, method, path, media, body string
		code                            int // under Strict
		message                         string
		warnings                        []string
	}{
		{"create", "POST", maps, "", object("b"), 400, "strict decoding error: " + twice + ", " + unknown, []string{twice, unknown}},
		{"update", "PUT", maps + "/a", "", object("a"), 400, "strict decoding error: " + twice + ", " + unknown, []string{twice, unknown}},
		{"merge patch, twice", "PATCH", maps + "/a", merge, `{"data":{"k":"1","k":"2"}}`, 422, "strict decoding error: " + twice, []string{twice}},
		{"merge patch, unknown", "PATCH", maps + "/a", merge, `{"spec":1}`, 422, "strict decoding error: " + unknown, []string{unknown}},
		{"strategic patch, twice", "PATCH", maps + "/a", strategic, `{"data":{"k":"1","k":"3"}}`, 422, "strict decoding error: " + twice, []string{twice}},
		{"JSON patch, unknown", "PATCH", maps + "/a", "application/json-patch+json", `[{"op":"add","path":"/spec","value":1}]`, 422, "strict decoding error: " + unknown, []string{unknown}},
		{"apply, twice", "PATCH", maps + "/a", apply, "kind: ConfigMap\napiVersion: v1\ndata: {k: a, k: b}\n", 400, "error strict decoding YAML", nil},
	} {
		for _, validation := range []string{"Strict", "Warn", "Ignore", ""} {
			t.Run(test.name+" "+validation, func(t *testing.T) {
				path := fmt.Sprintf("%s?dryRun=All&fieldManager=me&fieldValidation=%s", test.path, validation)
				response := w.request(test.method, path, test.body, "Content-Type", test.media)
				body := read(t, response)
				if validation == "Strict" {
					var status metav1.Status
					check(t, json.Unmarshal([]byte(body), &status))
					if response.StatusCode != test.code || !strings.Contains(status.Message, test.message) {
						t.Errorf("%d %s, want %d with %s", response.StatusCode, status.Message, test.code, test.message)
					}
					return
				}
				if response.StatusCode >= http.StatusMultipleChoices {
					t.Fatalf("%s %s", response.Status, body)
				}
				var want []string
				if validation != "Ignore" {
					for _, text := range test.warnings {
						want = append(want, `299 - "`+strings.ReplaceAll(text, `"`, `\"`)+`"`)
					}
				}
				got := response.Header.Values("Warning")
				if test.warnings != nil && !slices.Equal(got, want) {
					t.Errorf("warnings %q, want %q", got, want)
				}
				if test.warnings == nil && (len(got) > 0) == (validation == "Ignore") {
					t.Errorf("warnings %q", got)
				}
			})
		}
	}
}
