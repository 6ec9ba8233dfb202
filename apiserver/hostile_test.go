package apiserver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/headway-sh/headway/apiserver"
)

const (
	asJSON      = "application/json"
	asYAML      = "application/yaml"
	asProtobuf  = "application/vnd.kubernetes.protobuf"
	asCBOR      = "application/cbor"
	jsonPatch   = "application/json-patch+json"
	mergePatch  = "application/merge-patch+json"
	strategic   = "application/strategic-merge-patch+json"
	applyPatch  = "application/apply-patch+yaml"
	applyCBOR   = "application/apply-patch+cbor"
	mapsPath    = "/api/v1/namespaces/default/configmaps"
	widgetsPath = "/apis/shop.example.com/v1/namespaces/default/widgets"
	crdsPath    = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	applied     = "?fieldManager=mallory"
)

// raw sends requests as they are to the server, as an administrator.
func (s *shop) raw(t *testing.T) func(method, path, media string, body []byte) (int, string) {
	t.Helper()
	config := clientConfig(t, s.server, "mallory", "system:masters")
	client := &http.Client{Transport: config.Transport}
	return func(method, path, media string, body []byte) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, config.Host+path, bytes.NewReader(body))
		check(t, err)
		if media != "" {
			r.Header.Set("Content-Type", media)
		}
		response, err := client.Do(r)
		check(t, err)
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, 32<<20))
		check(t, err)
		return response.StatusCode, string(answer)
	}
}

func nest(open, middle, end string, depth int) string {
	return strings.Repeat(open, depth) + middle + strings.Repeat(end, depth)
}

// bomb is YAML whose aliases refer to aliases.
func bomb(head string) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%sa: &a [x,x,x,x,x,x,x,x,x]\n", head)
	for c := 'b'; c < 'k'; c++ {
		fmt.Fprintf(b, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	return b.String()
}

// heavy is YAML whose aliases are few, but of something long: a gigabyte.
func heavy(head string) string {
	return head + "a: &a " + strings.Repeat("x", 50<<10) + "\nb: [" + strings.TrimSuffix(strings.Repeat("*a,", 20_000), ",") + "]\n"
}

// message is a length-delimited field of a protobuf message.
func message(number int, value []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(number)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// unknown wraps a message as the API does.
func unknown(apiVersion, kind string, raw []byte) []byte {
	b := append([]byte("k8s\x00"), message(1, append(message(1, []byte(apiVersion)), message(2, []byte(kind))...))...)
	return append(b, message(2, raw)...)
}

// nestedSchema is a definition whose schema has a schema that has a schema.
// It is written from the inside out, back to front, as it is long.
func nestedSchema(depth int) []byte {
	var size int
	var heads [][]byte
	for range depth {
		head := binary.AppendUvarint([]byte{26<<3&0x7f | 2 | 0x80, 26 << 3 >> 7}, uint64(size)) // not
		heads = append(heads, head)
		size += len(head)
	}
	var schema []byte
	for i := len(heads) - 1; i >= 0; i-- {
		schema = append(schema, heads[i]...)
	}
	version := append(message(1, []byte("v1")), message(4, message(1, schema))...)
	spec := append(message(1, []byte("deep.example.com")), message(7, version)...)
	return unknown("apiextensions.k8s.io/v1", "CustomResourceDefinition", append(message(1, message(1, []byte("deeps.deep.example.com"))), message(2, spec)...))
}

// cborNest is an array in an array.
func cborNest(depth int) []byte {
	return append(append([]byte("\xd9\xd9\xf7\xa3\x64kind\x69ConfigMap\x6aapiVersion\x62v1\x64data"), bytes.Repeat([]byte{0x81}, depth)...), 0xf6)
}

// TestHostileBodies sends what is made to cost the server much or to confuse
// it, in every form and to built-in and custom resources. Each is refused with
// a reason within seconds, nothing is written, and others are served.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := s.widgets().Create(t.Context(), widget(t, "w", "{size: 3}"), metav1.CreateOptions{})
	check(t, err)
	client, err := kubernetes.NewForConfig(clientConfig(t, s.server, "ada", "system:masters"))
	check(t, err)
	_, err = client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	check(t, err)
	send := s.raw(t)
	const (
		mapHead    = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
		widgetHead = "apiVersion: shop.example.com/v1\nkind: Widget\nmetadata: {name: x}\nspec: {size: 1}\n"
		mapJSON    = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},`
		widgetJSON = `{"apiVersion":"shop.example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":{"size":1,`
		deep       = 10_000
		big        = 1 << 21
	)
	m, w := mapsPath+"/m", widgetsPath+"/w"
	long := strings.Repeat("x", 256<<10)
	annotated := `"metadata":{"name":"x","annotations":{"a":"` + long + `"}}}`
	for _, c := range []struct {
		name, method, path, media, body string
		code                            int
		want                            string
	}{
		{"alias bomb", "POST", mapsPath, asYAML, bomb(mapHead), 400, ""},
		{"alias bomb, custom", "POST", widgetsPath, asYAML, bomb(widgetHead), 400, ""},
		{"alias bomb, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, bomb(mapHead), 400, ""},
		{"alias bomb, applied, custom", "PATCH", widgetsPath + "/x" + applied, applyPatch, bomb(widgetHead), 400, ""},
		{"alias bomb, options", "DELETE", m, asYAML, bomb(""), 400, ""},
		{"heavy aliases", "POST", mapsPath, asYAML, heavy(mapHead), 400, "aliases"},
		{"heavy aliases, custom", "PUT", w, asYAML, heavy(widgetHead), 400, "aliases"},
		{"heavy aliases, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, heavy(mapHead), 400, "aliases"},
		{"heavy aliases, applied, custom", "PATCH", widgetsPath + "/x" + applied, applyPatch, heavy(widgetHead), 400, "aliases"},
		{"heavy aliases, options", "DELETE", m, asYAML, heavy(""), 400, "aliases"},
		{"alias of itself", "POST", mapsPath, asYAML, mapHead + "a: &a {b: *a}\n", 400, ""},
		{"alias of itself, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, mapHead + "a: &a [*a]\n", 400, ""},

		{"deep", "POST", mapsPath, asJSON, mapJSON + `"data":` + nest(`{"a":`, "1", "}", deep) + "}", 400, "nested deeper"},
		{"deep, custom", "POST", widgetsPath, asJSON, widgetJSON + `"free":` + nest(`{"a":`, "1", "}", deep) + "}}", 400, "nested deeper"},
		{"deep lists, custom", "PUT", w, asJSON, widgetJSON + `"free":{"a":` + nest(`[`, "1", "]", deep) + "}}}", 400, "nested deeper"},
		{"deep, merge patch", "PATCH", m, mergePatch, `{"data":` + nest(`{"a":`, "1", "}", deep) + "}", 400, "nested deeper"},
		{"deep, merge patch, custom", "PATCH", w, mergePatch, `{"spec":{"free":` + nest(`{"a":`, "1", "}", deep) + "}}", 400, "nested deeper"},
		{"deep, strategic", "PATCH", m, strategic, nest(`{"a":`, "1", "}", deep), 400, "nested deeper"},
		{"deep, JSON patch", "PATCH", w, jsonPatch, `[{"op":"add","path":"/spec/free","value":` + nest(`{"a":`, "1", "}", deep) + "}]", 400, "nested deeper"},
		{"deep YAML", "POST", mapsPath, asYAML, mapHead + "data: " + nest("{a: ", "1", "}", deep), 400, ""},
		{"deep YAML, custom", "POST", widgetsPath, asYAML, widgetHead + "free: " + nest("[", "1", "]", deep), 400, ""},
		{"deep YAML by indent", "POST", mapsPath, asYAML, mapHead + "data:\n  " + strings.Repeat("- ", deep) + "x\n", 400, ""},
		{"deep, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, mapHead + "data: " + nest("{a: ", "1", "}", deep), 400, ""},
		{"deep, applied, custom", "PATCH", widgetsPath + "/x" + applied, applyPatch, widgetJSON + `"free":` + nest(`{"a":`, "1", "}", deep) + "}}", 400, ""},
		{"deep CBOR", "POST", mapsPath, asCBOR, string(cborNest(deep)), 400, "exceeded max nested level"},
		{"deep CBOR, custom", "POST", widgetsPath, asCBOR, string(cborNest(deep)), 400, "exceeded max nested level"},
		{"deep CBOR, applied", "PATCH", mapsPath + "/x" + applied, applyCBOR, string(cborNest(deep)), 400, "exceeded max nested level"},
		{"deep Unknown", "POST", mapsPath, asProtobuf, string(bytes.Repeat([]byte("k8s\x00\x12\x7f"), deep)), 400, ""},
		{"deep groups", "POST", mapsPath, asProtobuf, string(unknown("v1", "ConfigMap", bytes.Repeat([]byte{0x7b}, deep))), 400, ""},
		{"deep schema", "POST", crdsPath, asProtobuf, string(nestedSchema(deep)), 400, "nested deeper"},
		{"endless schema", "POST", crdsPath, asProtobuf, string(nestedSchema(500_000)), 400, "nested deeper"},
		{"protobuf, custom", "POST", widgetsPath, asProtobuf, string(unknown("shop.example.com/v1", "Widget", nil)), 415, ""},
		{"a length beyond the end", "POST", mapsPath, asProtobuf, "k8s\x00\x12\xff\xff\xff\xff\x07", 400, ""},

		{"duplicate key", "POST", mapsPath + "?fieldValidation=Strict", asJSON, mapJSON + `"data":{"a":"1","a":"2"}}`, 400, `duplicate field \"data.a\"`},
		{"duplicate key, custom", "POST", widgetsPath + "?fieldValidation=Strict", asJSON, widgetJSON + `"size":2}}`, 400, `duplicate field \"spec.size\"`},
		{"duplicate key, YAML", "POST", mapsPath + "?fieldValidation=Strict", asYAML, mapHead + "data: {a: b, a: c}\n", 400, `already set in map`},
		{"duplicate key, YAML, custom", "POST", widgetsPath + "?fieldValidation=Strict", asYAML, widgetHead + "spec: {size: 2}\n", 400, `already set in map`},
		{"duplicate key, applied", "PATCH", mapsPath + "/x" + applied + "&fieldValidation=Strict", applyPatch, mapHead + "data: {a: b, a: c}\n", 400, "already set in map"},
		{"duplicate key, applied, custom", "PATCH", widgetsPath + "/x" + applied + "&fieldValidation=Strict", applyPatch, widgetHead + "spec: {size: 2}\n", 400, "already set in map"},
		{"duplicate key, merge patch", "PATCH", m + "?fieldValidation=Strict", mergePatch, `{"data":{"a":"1","a":"2"}}`, 422, `duplicate field`},
		{"duplicate key, merge patch, custom", "PATCH", w + "?fieldValidation=Strict", mergePatch, `{"spec":{"size":1,"size":2}}`, 422, `duplicate field`},
		{"duplicate key, CBOR", "POST", mapsPath, asCBOR, "\xd9\xd9\xf7\xa3\x64kind\x69ConfigMap\x6aapiVersion\x62v1\x64kind\x63Pod", 400, "duplicate"},

		{"100,000 documents", "POST", mapsPath, asYAML, mapHead + strings.Repeat("---\na: b\n", 100_000), 400, "more than one document"},
		{"100,000 documents, custom", "POST", widgetsPath, asYAML, widgetHead + strings.Repeat("---\na: b\n", 100_000), 400, "more than one document"},
		{"100,000 documents, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, mapHead + strings.Repeat("---\na: b\n", 100_000), 400, "more than one document"},
		{"100,000 documents, applied, custom", "PATCH", widgetsPath + "/x" + applied, applyPatch, widgetHead + strings.Repeat("---\na: b\n", 100_000), 400, "more than one document"},
		{"100,000 JSON documents", "POST", mapsPath, asJSON, strings.Repeat(mapJSON[:len(mapJSON)-1]+"}", 40_000), 400, ""},

		{"body", "POST", mapsPath, asJSON, strings.Repeat(" ", 3<<20+1), 413, "limit is 3145728"},
		{"body, custom", "POST", widgetsPath, asJSON, strings.Repeat(" ", 3<<20+1), 413, "limit is 3145728"},
		{"body, patch", "PATCH", w, mergePatch, strings.Repeat(" ", 3<<20+1), 413, "limit is 3145728"},
		{"body, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, strings.Repeat(" ", 3<<20+1), 413, "limit is 3145728"},
		{"body, options", "DELETE", m, asJSON, strings.Repeat(" ", 3<<20+1), 413, "limit is 3145728"},
		{"body, protobuf", "POST", mapsPath, asProtobuf, string(unknown("v1", "ConfigMap", make([]byte, 3<<20))), 413, "limit is 3145728"},
		{"body, CBOR", "POST", mapsPath, asCBOR, "\xd9\xd9\xf7" + strings.Repeat("\x00", 3<<20), 413, "limit is 3145728"},
		{"body, CBOR, applied", "PATCH", mapsPath + "/x" + applied, applyCBOR, "\xd9\xd9\xf7" + strings.Repeat("\x00", 3<<20), 413, "limit is 3145728"},
		{"data of a ConfigMap", "POST", mapsPath, asJSON, mapJSON + `"data":{"a":"` + strings.Repeat("x", big) + `"}}`, 422, "Too long"},
		{"annotations", "POST", mapsPath, asJSON, "{" + annotated, 422, "Too long"},
		{"annotations, custom", "POST", widgetsPath, asJSON, `{"apiVersion":"shop.example.com/v1","kind":"Widget","spec":{"size":1},` + annotated, 422, "Too long"},
		{"annotations, patch", "PATCH", m, strategic, `{"metadata":{"annotations":{"a":"` + long + `"}}}`, 422, "Too long"},
		{"annotations, patch, custom", "PATCH", w, mergePatch, `{"metadata":{"annotations":{"a":"` + long + `"}}}`, 422, "Too long"},
		{"annotations, status, custom", "PATCH", w + "/status", mergePatch, `{"metadata":{"annotations":{"a":"` + long + `"}},"status":{"replicas":"x"}}`, 422, ""},
		{"annotations, applied", "PATCH", mapsPath + "/x" + applied, applyPatch, `{"apiVersion":"v1","kind":"ConfigMap",` + annotated, 422, "Too long"},
		{"annotations, applied, custom", "PATCH", widgetsPath + "/x" + applied, applyPatch, `{"apiVersion":"shop.example.com/v1","kind":"Widget","spec":{"size":1},` + annotated, 422, "Too long"},

		{"operations", "PATCH", m, jsonPatch, "[" + strings.Repeat("{},", 100_000) + "{}]", 413, "got 100001"},
		{"operations, custom", "PATCH", w, jsonPatch, "[" + strings.Repeat("{},", 100_000) + "{}]", 413, "got 100001"},
		{"operations, scale", "PATCH", w + "/scale", jsonPatch, "[" + strings.Repeat("{},", 100_000) + "{}]", 413, "got 100001"},
		{"copies", "PATCH", m, jsonPatch, multiplied("/data", 64), 413, "copy"},
		{"copies, custom", "PATCH", w, jsonPatch, multiplied("/spec", 64), 413, "copy"},
		{"copies, status", "PATCH", w + "/status", jsonPatch, multiplied("/spec", 64), 413, "copy"},
		{"large index", "PATCH", w, jsonPatch, `[{"op":"add","path":"/spec/parts","value":[]},{"op":"add","path":"/spec/parts/99999999999","value":{}}]`, 422, ""},
		{"no pointer", "PATCH", m, jsonPatch, `[{"op":"add","path":"` + strings.Repeat("/a", 500_000) + `","value":1}]`, 422, ""},
		{"bad directive", "PATCH", m, strategic, `{"data":{"$patch":"explode"}}`, 400, "$patch"},
		{"retained keys of something else", "PATCH", m, strategic, `{"data":{"$retainKeys":"k","a":"b"}}`, 400, ""},
		{"strategic, custom", "PATCH", w, strategic, `{"spec":{"size":2}}`, 415, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := revision(t, s.server)
			began := time.Now()
			code, body := send(c.method, c.path, c.media, []byte(c.body))
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("%d %.500s\nwant %d %s", code, body, c.code, c.want)
			}
			if len(body) > 1<<20 {
				t.Errorf("the answer has %d bytes", len(body))
			}
			if after := revision(t, s.server); after != before {
				t.Errorf("the store went from revision %d to %d", before, after)
			}
		})
	}
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "m", metav1.GetOptions{}); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// revision is where the server's store is.
func revision(t *testing.T, server *apiserver.Server) int64 {
	t.Helper()
	view, err := server.Peer(admin).Txn().View(t.Context())
	check(t, err)
	return view.Revision()
}

// TestObjectOutgrowsTheStore lets an object grow by patches that are small
// enough each, until the store takes it no more.
func TestObjectOutgrowsTheStore(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := s.widgets().Create(t.Context(), widget(t, "w", "{size: 3, free: {}}"), metav1.CreateOptions{})
	check(t, err)
	send := s.raw(t)
	value := strings.Repeat("x", 3<<20-1<<10)
	for i := range 8 {
		before := revision(t, s.server)
		code, body := send("PATCH", widgetsPath+"/w", jsonPatch, fmt.Appendf(nil,
			`[{"op":"add","path":"/spec/free/a%d","value":"%s"},{"op":"copy","from":"/spec/free/a%d","path":"/spec/free/b%d"}]`, i, value, i, i))
		if code == http.StatusOK {
			continue
		}
		if code != http.StatusRequestEntityTooLarge || !strings.Contains(body, "more bytes than the storage takes") {
			t.Errorf("%d %.500s", code, body)
		}
		if after := revision(t, s.server); after != before {
			t.Errorf("the store went from revision %d to %d", before, after)
		}
		if code, body := send("PATCH", widgetsPath+"/w", mergePatch, []byte(`{"spec":{"free":null,"size":4}}`)); code != http.StatusOK {
			t.Errorf("shrink it again: %d %.500s", code, body)
		}
		return
	}
	t.Error("it grows without bound")
}

// multiplied is a JSON patch that copies an object into itself again and again.
func multiplied(path string, times int) string {
	operations := make([]string, times)
	for i := range operations {
		operations[i] = fmt.Sprintf(`{"op":"copy","from":%q,"path":"%s/k%d"}`, path, path, i)
	}
	return "[" + strings.Join(operations, ",") + "]"
}

// TestBodyWithoutALength sends what has no end: it is not read further than a
// body may be long.
func TestBodyWithoutALength(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	config := clientConfig(t, s.server, "mallory", "system:masters")
	client := &http.Client{Transport: config.Transport}
	for _, media := range []string{asJSON, asYAML, asProtobuf, asCBOR} {
		sent := &endless{}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, config.Host+mapsPath, sent)
		check(t, err)
		r.Header.Set("Content-Type", media)
		response, err := client.Do(r)
		check(t, err)
		answer, err := io.ReadAll(response.Body)
		check(t, errors.Join(err, response.Body.Close()))
		if response.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(answer), "limit is 3145728") {
			t.Errorf("%s: %d %.300s", media, response.StatusCode, answer)
		}
		// What is under way when the answer comes is a few windows of the
		// connection.
		if n := sent.n.Load(); n > 16<<20 {
			t.Errorf("%s: %d bytes were taken", media, n)
		}
	}
}

// endless is a body of spaces.
type endless struct{ n atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.n.Add(int64(len(p)))
	return len(p), nil
}
