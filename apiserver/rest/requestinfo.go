package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxSegment bounds one path segment. Object names are shorter, but for those
// whose rules set no length; what is longer only costs memory. maxNamespace is
// longer than any namespace's name.
const (
	maxSegment   = 1024
	maxNamespace = 253
)

// RequestInfo is what a request asks for, read off its path and method.
type RequestInfo struct {
	// Path is the decoded path.
	Path string
	// Verb is the API verb for resources, else the lower-case HTTP method.
	Verb string
	// IsResource says that the path has the shape of an API resource. The
	// fields below are empty otherwise.
	IsResource  bool
	Group       string
	Version     string
	Namespace   string
	Resource    string
	Subresource string
	Name        string
	// Tail is what follows the subresource, undecoded and with its leading
	// slash: the path that a proxy subresource hands on.
	Tail string
}

// GroupResource is the resource asked for.
func (i *RequestInfo) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: i.Group, Resource: i.Resource}
}

// ParseRequest reads method and path strictly: a path is refused when one of
// its segments, decoded, is empty, "." or "..", no text, or has a slash, a
// percent sign or a control character in it. So no path ever names another key range than
// the one it seems to name. The tail of a proxy subresource is not looked at.
func ParseRequest(r *http.Request) (*RequestInfo, error) {
	info := &RequestInfo{Verb: strings.ToLower(r.Method), Path: r.URL.Path}
	escaped := r.URL.EscapedPath()
	if !strings.HasPrefix(escaped, "/") {
		return nil, fmt.Errorf("path %q does not begin with a slash", escaped)
	}
	raw := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	if len(raw) > 0 && raw[len(raw)-1] == "" {
		raw = raw[:len(raw)-1] // one slash at the end is harmless
	}
	head := raw
	if tail := proxyTail(raw); tail > 0 {
		head = raw[:tail]
		info.Tail = strings.TrimPrefix(escaped, "/"+strings.Join(head, "/"))
	}
	parts := make([]string, len(head))
	for i, segment := range head {
		part, err := decodeSegment(segment)
		if err != nil {
			return nil, err
		}
		parts[i] = part
	}
	info.parse(r, parts)
	if len(info.Namespace) > maxNamespace {
		return nil, fmt.Errorf("a namespace's name has at most %d bytes", maxNamespace)
	}
	return info, nil
}

// proxyTail gives the number of segments up to and including a proxy
// subresource, or 0 when the path has none.
//
//	/api/v1/nodes/n1/proxy/...                    5
//	/api/v1/namespaces/ns/pods/p/proxy/...        7
func proxyTail(raw []string) int {
	if len(raw) > 5 && raw[0] == "api" && raw[2] != "namespaces" && raw[4] == "proxy" {
		return 5
	}
	if len(raw) > 7 && raw[0] == "api" && raw[2] == "namespaces" && raw[6] == "proxy" {
		return 7
	}
	return 0
}

func decodeSegment(segment string) (string, error) {
	part, err := url.PathUnescape(segment)
	if err != nil {
		return "", fmt.Errorf("path segment %q: %w", segment, err)
	}
	switch {
	case part == "":
		return "", fmt.Errorf("the path has an empty segment")
	case part == "." || part == "..":
		return "", fmt.Errorf("path segment %q is not a name", segment)
	case !utf8.ValidString(part):
		return "", fmt.Errorf("path segment %q is not UTF-8", segment)
	case len(part) > maxSegment:
		return "", fmt.Errorf("a path segment is longer than %d bytes", maxSegment)
	}
	for _, c := range []byte(part) {
		if c == '/' || c == '%' || c == '\\' || c < 0x20 || c == 0x7f {
			return "", fmt.Errorf("path segment %q has the character %q in it", segment, c)
		}
	}
	return part, nil
}

// parse fills in the resource fields for paths below /api/VERSION and
// /apis/GROUP/VERSION that go on to a resource.
func (i *RequestInfo) parse(r *http.Request, parts []string) {
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		i.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis" && parts[1] != txnGroup:
		i.Group, i.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return
	}
	i.IsResource = true
	legacyWatch := parts[0] == "watch" && len(parts) > 1
	if legacyWatch {
		parts = parts[1:]
	}
	if parts[0] == "namespaces" && len(parts) > 1 {
		i.Namespace = parts[1]
		// Below a namespace come its own subresources or its objects.
		if len(parts) > 2 && !(len(parts) == 3 && isNamespaceSubresource(parts[2])) {
			parts = parts[2:]
		}
	}
	i.Resource = parts[0]
	if len(parts) > 1 {
		i.Name = parts[1]
	}
	if len(parts) > 2 {
		i.Subresource = parts[2]
	}
	if len(parts) > 3 {
		i.Subresource = strings.Join(parts[2:], "/") // no such subresource: 404
	}
	i.Verb = i.verb(r, legacyWatch)
}

func isNamespaceSubresource(s string) bool { return s == "status" || s == "finalize" }

func (i *RequestInfo) verb(r *http.Request, legacyWatch bool) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if i.Subresource != "" {
			return "get"
		}
		query := r.URL.Query()
		if legacyWatch || isTrue(query["watch"]) {
			return "watch"
		}
		if i.Name == "" {
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if i.Name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(r.Method)
}

// isTrue reads a boolean query parameter the way the API does: present and
// neither "0" nor "false".
func isTrue(values []string) bool {
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}
