package openapi

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	v2RefPrefix = "#/definitions/"
	intOrString = "x-kubernetes-int-or-string"
	// keepsUnknown says that an object has fields that its schema does not name.
	keepsUnknown = "x-kubernetes-preserve-unknown-fields"
)

// v2 is the whole API as one OpenAPI v2 document, turned out of the v3 parts.
func (c *catalog) v2() ([]byte, error) {
	all, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	versions := c.versions()
	components, err := c.components(all, versions...)
	if err != nil {
		return nil, err
	}
	definitions := object{}
	for name, raw := range components {
		var s object
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("decode schema %s: %w", name, err)
		}
		definitions[name] = v2Definition(s)
	}
	paths := object{}
	for _, gv := range versions {
		for path, item := range c.paths(gv) {
			paths[path] = v2Item(item.(object))
		}
	}
	b, err := json.Marshal(object{
		"swagger": "2.0", "info": object{"title": "Kubernetes", "version": c.version}, "paths": paths, "definitions": definitions,
		"securityDefinitions": object{"BearerToken": object{"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode OpenAPI v2: %w", err)
	}
	return b, nil
}

// v2Definition turns the schema of a whole object. Clients of v2 take the
// properties of a kind for all that it may have: one that keeps what it does
// not know is shown without any, not even apiVersion and metadata.
func v2Definition(s object) object {
	if kinds := s[gvkExtension]; kinds != nil && s[keepsUnknown] == true {
		return object{"type": "object", gvkExtension: kinds}
	}
	return v2Schema(s)
}

// v2Schema turns a schema into what v2 can say: no defaults, no allOf around
// references, no alternatives.
func v2Schema(s object) object {
	out := object{}
	for key, value := range s {
		switch key {
		case "default", "nullable":
		case "$ref":
			out[key] = v2RefPrefix + strings.TrimPrefix(value.(string), refPrefix)
		case "allOf":
			for _, one := range value.([]any) {
				for k, v := range v2Schema(one.(object)) {
					out[k] = v
				}
			}
		case "oneOf", "anyOf":
			// Numbers or strings: v2 clients go by the format. What else there
			// is to choose from among custom resources v2 cannot say.
			if len(s) <= 4 && s["properties"] == nil && s["items"] == nil && s["type"] == nil && s[intOrString] == nil {
				out["type"] = "string"
			}
		case "not":
		case "properties":
			properties := object{}
			for name, p := range value.(object) {
				properties[name] = v2Schema(p.(object))
			}
			out[key] = properties
		case "items", "additionalProperties":
			if nested, ok := value.(object); ok {
				value = v2Schema(nested)
			}
			out[key] = value
		default:
			out[key] = value
		}
	}
	return out
}

// v2Item turns the operations of a path.
func v2Item(item object) object {
	out := object{}
	for key, value := range item {
		if key == "parameters" {
			out[key] = v2Parameters(value.([]object))
			continue
		}
		out[key] = v2Operation(value.(object))
	}
	return out
}

func v2Operation(op object) object {
	out := object{"produces": answerTypes, "schemes": []string{"https"}}
	var list []object
	for key, value := range op {
		switch key {
		case "parameters":
			list = append(v2Parameters(value.([]object)), list...)
		case "requestBody":
			body := value.(object)
			var consumes []string
			for _, media := range sorted(body["content"].(object)) {
				consumes = append(consumes, media)
			}
			content := body["content"].(object)[consumes[0]].(object)
			parameter := object{"name": "body", "in": "body", "schema": v2Schema(content["schema"].(object))}
			if body["required"] == true {
				parameter["required"] = true
			}
			list, out["consumes"] = append(list, parameter), consumes
		case "responses":
			responses := object{}
			for code, r := range value.(object) {
				response := object{"description": r.(object)["description"]}
				if content, ok := r.(object)["content"].(object); ok {
					for _, media := range sorted(content) {
						response["schema"] = v2Schema(content[media].(object)["schema"].(object))
						break
					}
				}
				responses[code] = response
			}
			out[key] = responses
		default:
			out[key] = value
		}
	}
	if len(list) > 0 {
		out["parameters"] = list
	}
	return out
}

// v2Parameters puts the schema's type beside the name.
func v2Parameters(list []object) []object {
	out := make([]object, 0, len(list))
	for _, p := range list {
		turned := object{}
		for key, value := range p {
			if key != "schema" {
				turned[key] = value
				continue
			}
			for k, v := range value.(object) {
				turned[k] = v
			}
		}
		out = append(out, turned)
	}
	return out
}
