package openapi

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is a JSON object being put together.
type object = map[string]any

// resource is one resource or subresource as the documents describe it.
type resource struct {
	gvk        schema.GroupVersionKind // of what it reads and writes
	plural     string
	sub        string // subresource, or empty
	kind       string // of the main resource
	namespaced bool
	verbs      []string
	model      string // schema of the object
	list       string // schema of the list; empty for subresources
	connect    bool
	custom     bool // has no Go type: no protobuf, no strategic merge
}

// Media types of bodies.
var (
	answerTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streamTypes = []string{"application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"}
	patchTypes  = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}

	customPatchTypes = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
)

// prefix is a version's path.
func prefix(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// addPaths adds the paths of a resource.
func (r *resource) addPaths(gv schema.GroupVersion, paths object) {
	base := prefix(gv)
	collection := base + "/" + r.plural
	if r.namespaced {
		collection = base + "/namespaces/{namespace}/" + r.plural
	}
	if r.sub != "" {
		r.addItem(gv, paths, collection+"/{name}/"+r.sub)
		return
	}
	if slices.Contains(r.verbs, "list") || slices.Contains(r.verbs, "create") || slices.Contains(r.verbs, "deletecollection") {
		item := object{"parameters": pathParameters(r.namespaced, false)}
		r.operation(gv, item, "get", "list", "list", r.list)
		r.operation(gv, item, "post", "create", "post", r.model)
		r.operation(gv, item, "delete", "deletecollection", "deletecollection", "io.k8s.apimachinery.pkg.apis.meta.v1.Status")
		paths[collection] = item
	}
	if r.namespaced && slices.Contains(r.verbs, "list") {
		all := *r
		all.namespaced = false
		item := object{"parameters": pathParameters(false, false)}
		all.operation(gv, item, "get", "list", "list", r.list)
		item["get"].(object)["operationId"] = "list" + operationGroup(gv) + r.kind + "ForAllNamespaces"
		paths[base+"/"+r.plural] = item
	}
	r.addItem(gv, paths, collection+"/{name}")
}

// addItem adds the path of one object.
func (r *resource) addItem(gv schema.GroupVersion, paths object, path string) {
	item := object{"parameters": pathParameters(r.namespaced, true)}
	before := len(item)
	action := func(verb string) string {
		if r.connect {
			return "connect"
		}
		return verb
	}
	r.operation(gv, item, "get", "get", action("get"), r.model)
	r.operation(gv, item, "put", "update", action("put"), r.model)
	r.operation(gv, item, "patch", "patch", action("patch"), r.model)
	if r.sub != "" {
		r.operation(gv, item, "post", "create", action("post"), r.model)
	}
	r.operation(gv, item, "delete", "delete", action("delete"), "io.k8s.apimachinery.pkg.apis.meta.v1.Status")
	if len(item) > before {
		paths[path] = item
	}
}

// operation adds one method, when the resource has the verb.
func (r *resource) operation(gv schema.GroupVersion, item object, method, verb, action, answer string) {
	if !slices.Contains(r.verbs, verb) {
		return
	}
	content := object{}
	types, streams, patches := answerTypes, streamTypes, patchTypes
	if r.custom {
		types, streams, patches = answerTypes[:2], streamTypes[:1], customPatchTypes
	}
	if verb == "list" {
		types = append(slices.Clone(types), streams...)
	}
	for _, t := range types {
		content[t] = object{"schema": object{"$ref": refPrefix + answer}}
	}
	if r.connect {
		content = object{"*/*": object{"schema": object{"type": "string"}}}
	}
	ok := object{"description": "OK", "content": content}
	responses := object{"200": ok, "401": object{"description": "Unauthorized"}}
	switch verb {
	case "create", "update", "patch":
		responses["201"] = object{"description": "Created", "content": content}
	case "delete":
		responses["202"] = object{"description": "Accepted", "content": content}
	}
	op := object{
		"description": r.describe(verb), "operationId": r.operationID(gv, verb), "tags": []string{tag(gv)},
		"responses": responses, "x-kubernetes-action": action, gvkExtension: wireGVK(r.gvk),
	}
	if p := parameters[verb]; len(p) > 0 && !r.connect {
		op["parameters"] = p
	}
	switch {
	case r.connect:
	case verb == "create" || verb == "update":
		op["requestBody"] = object{"required": true, "content": object{"*/*": object{"schema": object{"$ref": refPrefix + r.model}}}}
	case verb == "patch":
		bodies := object{}
		for _, t := range patches {
			bodies[t] = object{"schema": object{"$ref": refPrefix + "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"}}
		}
		op["requestBody"] = object{"required": true, "content": bodies}
	case verb == "delete" || verb == "deletecollection":
		op["requestBody"] = object{"content": object{"*/*": object{"schema": object{"$ref": refPrefix + "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"}}}}
	}
	item[method] = op
}

// describe says in a sentence what an operation does.
func (r *resource) describe(verb string) string {
	what := r.kind
	if r.sub != "" {
		what = r.sub + " of the specified " + r.kind
	}
	return map[string]string{
		"get": "read the specified ", "list": "list or watch objects of kind ", "create": "create a ", "update": "replace the specified ",
		"patch": "partially update the specified ", "delete": "delete a ", "deletecollection": "delete collection of ",
	}[verb] + what
}

// operationID is unique within a document and of Kubernetes' form, such as
// patchAppsV1NamespacedDeploymentScale.
func (r *resource) operationID(gv schema.GroupVersion, verb string) string {
	id := map[string]string{"get": "read", "update": "replace", "deletecollection": "deleteCollection"}[verb]
	if id == "" {
		id = verb
	}
	if r.connect {
		id = "connect" + title(verb)
	}
	id += operationGroup(gv)
	if r.namespaced {
		id += "Namespaced"
	}
	return id + r.kind + title(r.sub)
}

// operationGroup is "CoreV1" or "RbacAuthorizationV1".
func operationGroup(gv schema.GroupVersion) string {
	name := "core"
	if gv.Group != "" {
		name = strings.TrimSuffix(gv.Group, ".k8s.io")
	}
	var b strings.Builder
	for part := range strings.SplitSeq(name, ".") {
		b.WriteString(title(part))
	}
	return b.String() + title(gv.Version)
}

func tag(gv schema.GroupVersion) string {
	id := operationGroup(gv)
	id = strings.TrimSuffix(id, title(gv.Version))
	return strings.ToLower(id[:1]) + id[1:] + "_" + gv.Version
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func pathParameters(namespaced, named bool) []object {
	var list []object
	if named {
		list = append(list, object{"name": "name", "in": "path", "required": true, "description": "name of the object", "schema": object{"type": "string", "uniqueItems": true}})
	}
	if namespaced {
		list = append(list, object{"name": "namespace", "in": "path", "required": true, "description": "object name and auth scope, such as for teams and projects", "schema": object{"type": "string", "uniqueItems": true}})
	}
	return append(list, query("pretty", "string", "If 'true', then the output is pretty printed."))
}

func query(name, kind, description string) object {
	return object{"name": name, "in": "query", "description": description, "schema": object{"type": kind, "uniqueItems": true}}
}

// parameters are the query parameters of each verb.
var parameters = func() map[string][]object {
	dryRun := query("dryRun", "string", "When All, every stage of the request is processed but nothing is written.")
	manager := query("fieldManager", "string", "The name of the actor that makes the change, at most 128 printable characters.")
	validation := query("fieldValidation", "string", "How unknown and duplicate fields are treated: Ignore, Warn or Strict.")
	force := query("force", "boolean", "Take over fields that other managers own; for apply only.")
	list := []object{
		query("allowWatchBookmarks", "boolean", "Ask for watch events of type BOOKMARK."),
		query("continue", "string", "Where to go on with a list, as the previous answer said."),
		query("fieldSelector", "string", "Restrict the objects by their fields; everything by default."),
		query("labelSelector", "string", "Restrict the objects by their labels; everything by default."),
		query("limit", "integer", "The largest number of objects in one answer."),
		query("resourceVersion", "string", "Which state to read, or from which on to watch."),
		query("resourceVersionMatch", "string", "How resourceVersion is applied to lists: Exact or NotOlderThan."),
		query("sendInitialEvents", "boolean", "Begin a watch with events for all existing objects."),
		query("timeoutSeconds", "integer", "How long a list or watch may take."),
	}
	remove := []object{dryRun,
		query("gracePeriodSeconds", "integer", "How many seconds the object may take to end; zero means now."),
		query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
		query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
	}
	return map[string][]object{
		"list": append(slices.Clone(list), query("watch", "boolean", "Watch for changes instead of listing.")),
		"get":  nil, "create": {dryRun, manager, validation}, "update": {dryRun, manager, validation},
		"patch": {dryRun, manager, validation, force}, "delete": remove,
		"deletecollection": append(slices.Clone(remove), list[1:8]...),
	}
}()

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
