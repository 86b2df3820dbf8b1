"""The characters that are classes: one hundred to learn from, and others, of other scripts, to pretrain on.

Each is drawn by several faces, has no decomposition in Unicode (no accent, no ligature, no styled form), and looks like
none before it: where two correlate by 0.9 or more in a regular face that both have, such as Latin A and Cyrillic А, or
C and c, the later one is left out. `tests/reference/glyph_choice.py` has the rule.
"""

STREAM = "0123456789ACDEGHJKLMNPQRSTUVWXYZabdefikmnoqrtyΓΔΞΣΦΨΩαβεζηκλμνξρςτυφχωϗϘϙϝϞϟϠϡϷϸϺϻЂЉБДЖЛЦЧШЩЪЫЭЮЯвищ"
"""Digits and letters of Latin, Greek and Cyrillic, in the order of Unicode. All faces of DejaVu have each."""

PRETRAINING: dict[str, str] = {
    "Armenian": "ԲԳԴԵԶԷԸԹԻԽԾԿՀՁՃՄՅՆՇՈՉՊՌՎՐՒՔՖաեէըթլխծկձճմնչպջվփքֆ",
    "Hebrew": "אבגדהזטיךכלםמעףפץצקרשװױײ",
    "Arabic": "؆ءبةتثجخدذرزسشصضطعغفقكلمنهوىي٠١٢٣٤٥٦٧٨٩ٴٻڑڤکگھ۴۶",
    "Lao": "ກຂຄງຈຊຍດຕຖທນບປຜຝພມຣລວສຫຮຯະາຽເແໂໃໄ໑໒໓໔໖໗໘໙",
    "Georgian": "ႠႡႣႥႦႧႨႩႪႫႬႭႮႯႰႲႵႶႸႼႽႾႿჁჂჃჄჅაგდეზთკლმჟრსტუფქჩცჭჯჰჱჲჳჴჵჶჸჹჺ",
    "technical signs": (
        "⌀⌁⌂⌃⌄⌅⌆⌇⌌⌍⌎⌏⌐⌑⌒⌓⌔⌕⌘⌙⌜⌝⌞⌟⌠⌤⌥⌦⌧⌨⌫⌬⌵⌶⌷⌸⌹⌺⌻⌼⌽⌾⌿⍀⍁⍂⍃⍄⍅⍆⍇⍉⍊⍋⍌⍍⍎⍏"
        "⍐⍑⍒⍓⍔⍕⍖⍘⍚⍛⍜⍝⍞⍟⍠⍡⍢⍣⍤⍥⍦⍧⍨⍩⍪⍫⍭⍮⍰⍱⍲⍳⍶⍷⍸⍹⍽⎀⎁⎂⎃⎇⎈⎉⎊⎋⎔⎛⎜⎝⎟⎨⎩⎫⎬⎭⏎⏏"
        "⏣⏥⏨"
    ),
    "symbols": (
        "☀☁☂☃☄★☆☇☈☉☊☋☌☍☎☏☐☑☒☔☕☖☗☘☙☚☛☜☝☞☟☠☡☢☣☤☥☦☧☨☩☪☫☬☭☮☯☰☸☹☻☼☽☾☿♀♁♂"
        "♃♄♅♆♇♈♉♊♋♌♍♎♏♐♑♒♓♔♕♖♗♘♙♚♜♝♞♟♠♡♢♤♥♧♨♩♪♫♬♭♮♯♰♱♲♳♺♻♼♽♾♿⚁⚄⚅⚆⚌⚐"
        "⚑⚒⚓⚔⚕⚖⚗⚘⚙⚚⚛⚜⚞⚟⚠⚡⚢⚣⚤⚥⚦⚧⚨⚩⚬⚭⚮⚯⚰⚳⚴⚵⚶⚷⚸⛀⛁⛂⛃"
    ),
    "dingbats": ("✁✂✃✄✆✇✈✉✌✍✎✏✐✑✒✓✕✖✗✘✙✚✛✝✞✟✠✡✣✥✦✧✩✪✫✬✰✱✵✶✺✾✿❀❁❂❄❅❈❍❏❐❛❜❝❞❡❢❥❦❧➔➘➚➛➝➟➢➣➤➨➩➪➫➬➭➮➯➱➲➳➴➶➸➽➾"),
    "Old Italic": "𐌀𐌁𐌃𐌄𐌇𐌈𐌊𐌋𐌌𐌍𐌎𐌐𐌒𐌓𐌔𐌕𐌖𐌘𐌙𐌚𐌛𐌜𐌝",
}
"""Letters and digits of other scripts, and signs, by script or block."""
