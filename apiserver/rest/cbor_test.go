package rest_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/client-go/kubernetes/scheme"
)

const mediaCBOR = "application/cbor"

var cborSerializer = cbor.NewSerializer(scheme.Scheme, scheme.Scheme)

// decoded is a good answer in CBOR.
func decoded(t *testing.T, response *http.Response) runtime.Object {
	t.Helper()
	body := read(t, response)
	if response.StatusCode >= 300 || response.Header.Get("Content-Type") != mediaCBOR {
		t.Fatalf("%s, %s: %s", response.Status, response.Header.Get("Content-Type"), body)
	}
	o, _, err := cborSerializer.Decode([]byte(body), nil, nil)
	check(t, err)
	return o
}

func TestCBOR(t *testing.T) {
	w := newWorld(t)
	w.namespace("shop")
	const secrets = "/api/v1/namespaces/shop/secrets"
	events := w.get(secrets+"?watch=1", "Accept", "application/cbor-seq")
	if got := events.Header.Get("Content-Type"); got != "application/cbor-seq" {
		t.Errorf("the watch is %s", got)
	}
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Data: map[string][]byte{"key": {0, 255, 1}}}
	var body bytes.Buffer
	check(t, cborSerializer.Encode(secret, &body))
	made := decoded(t, w.request(http.MethodPost, secrets, body.String(), "Content-Type", mediaCBOR, "Accept", mediaCBOR)).(*corev1.Secret)
	if !bytes.Equal(made.Data["key"], secret.Data["key"]) || made.UID == "" {
		t.Errorf("created %+v", made)
	}
	list := decoded(t, w.get(secrets, "Accept", mediaCBOR)).(*corev1.SecretList)
	if len(list.Items) != 1 || !bytes.Equal(list.Items[0].Data["key"], secret.Data["key"]) {
		t.Errorf("list %+v", list)
	}
	apply, err := direct.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s", "labels": map[string]any{"a": "b"}}})
	check(t, err)
	applied := decoded(t, w.request(http.MethodPatch, secrets+"/s?fieldManager=me", string(apply), "Content-Type", "application/apply-patch+cbor", "Accept", mediaCBOR)).(*corev1.Secret)
	if applied.Labels["a"] != "b" || len(applied.ManagedFields) != 2 {
		t.Errorf("applied %+v", applied.ObjectMeta)
	}
	reader := cbor.NewFramer().NewFrameReader(io.NopCloser(events.Body))
	for _, want := range []string{"ADDED", "MODIFIED"} {
		frame := make([]byte, 64<<10)
		n, err := reader.Read(frame)
		check(t, err)
		var event metav1.WatchEvent
		check(t, direct.Unmarshal(frame[:n], &event))
		o, _, err := cborSerializer.Decode(event.Object.Raw, nil, &corev1.Secret{})
		check(t, err)
		if got := o.(*corev1.Secret); event.Type != want || !bytes.Equal(got.Data["key"], secret.Data["key"]) {
			t.Errorf("%s of %+v, want %s", event.Type, got, want)
		}
	}
	for name, body := range map[string]string{
		"no CBOR": "{}", "key twice": "\xa2\x61a\x01\x61a\x02", "cut off": "\xa1\x61", "deep": string(bytes.Repeat([]byte{0x81}, 1000)),
	} {
		if response := w.request(http.MethodPost, secrets, body, "Content-Type", mediaCBOR); response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
}
