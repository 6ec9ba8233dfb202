package rest

import (
	"cmp"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The media types served, by their names on the wire.
const (
	mediaJSON     = "application/json"
	mediaYAML     = "application/yaml"
	mediaProtobuf = "application/vnd.kubernetes.protobuf"
	mediaCBOR     = "application/cbor"
	// mediaCBORSequence is what a watch in CBOR is.
	mediaCBORSequence = "application/cbor-seq"
)

// shape is what an object is turned into before it is encoded.
type shape int

const (
	shapeObject shape = iota
	shapeTable
	shapePartial
)

// accepted is the outcome of content negotiation.
type accepted struct {
	media  string
	shape  shape
	pretty bool
	// version of meta.k8s.io that a shape is wanted in; empty: v1.
	version string
}

// meta is a kind of meta.k8s.io in the version that is wanted.
func (a accepted) meta(name string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: metav1.GroupName, Version: cmp.Or(a.version, "v1"), Kind: name}
}

// clause is one alternative of an Accept header.
type clause struct {
	media   string
	params  map[string]string
	quality float64
}

// parseAccept splits an Accept header into its alternatives, best first; those
// of one quality stay in order. What cannot be parsed is left out.
func parseAccept(header string) []clause {
	var clauses []clause
	for part := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		c := clause{media: media, params: params, quality: 1}
		if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
			c.quality = q
		}
		if c.quality <= 0 {
			continue
		}
		at := len(clauses)
		for at > 0 && clauses[at-1].quality < c.quality {
			at--
		}
		clauses = append(clauses, clause{})
		copy(clauses[at+1:], clauses[at:])
		clauses[at] = c
	}
	return clauses
}

// negotiate picks the first alternative that can be served. protobuf says
// whether the kind has a protobuf form.
func negotiate(r *http.Request, protobuf bool) (accepted, error) {
	header := strings.Join(r.Header.Values("Accept"), ",")
	pretty := isTrue(r.URL.Query()["pretty"])
	if strings.TrimSpace(header) == "" {
		return accepted{media: mediaJSON, pretty: pretty}, nil
	}
	for _, c := range parseAccept(header) {
		media, ok := servedMedia(c.media, protobuf)
		if !ok {
			continue
		}
		a := accepted{media: media, pretty: pretty || c.params["pretty"] == "1", version: c.params["v"]}
		switch as := c.params["as"]; {
		case as == "":
		case c.params["g"] != metav1.GroupName || (c.params["v"] != "v1" && c.params["v"] != "v1beta1"):
			continue
		case as == "Table":
			a.shape = shapeTable
		case as == "PartialObjectMetadata" || as == "PartialObjectMetadataList":
			a.shape = shapePartial
		default:
			continue
		}
		if a.shape == shapeTable && a.media == mediaProtobuf {
			continue // tables have no protobuf form
		}
		return a, nil
	}
	return accepted{}, notAcceptable(protobuf)
}

func servedMedia(media string, protobuf bool) (string, bool) {
	switch media {
	case "*/*", "application/*", mediaJSON:
		return mediaJSON, true
	case mediaYAML, "text/yaml", "application/x-yaml":
		return mediaYAML, true
	case mediaProtobuf:
		return mediaProtobuf, protobuf
	case mediaCBOR, mediaCBORSequence:
		return mediaCBOR, true
	}
	return "", false
}

func notAcceptable(protobuf bool) error {
	list := mediaJSON + ", " + mediaYAML + ", " + mediaCBOR
	if protobuf {
		list += ", " + mediaProtobuf
	}
	return statusError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: "+list)
}

var bodyMedias = []string{mediaJSON, mediaYAML, mediaProtobuf, mediaCBOR}

// bodyMedia is the media type of the request's body; JSON when nothing is said.
func bodyMedia(r *http.Request) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return mediaJSON, nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil {
		return "", unsupportedMedia(bodyMedias...)
	}
	switch media {
	case mediaJSON:
		return mediaJSON, nil
	case mediaYAML, "text/yaml", "application/x-yaml":
		return mediaYAML, nil
	case mediaProtobuf:
		return mediaProtobuf, nil
	case mediaCBOR:
		return mediaCBOR, nil
	}
	return "", unsupportedMedia(bodyMedias...)
}

func unsupportedMedia(served ...string) error {
	return statusError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		fmt.Sprintf("the body of the request was in an unknown format - accepted media types include: %s", strings.Join(served, ", ")))
}
